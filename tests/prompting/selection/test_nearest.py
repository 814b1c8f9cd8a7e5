"""The nearest texts by BM25: their choice, their order, never the row itself."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
from collections import Counter

import pytest

from sft.errors import DataError
from sft.prompting.examples import Pool
from sft.prompting.selection import Wanted, choose_examples, find_selection
from sft.prompting.selection.words import words

TEXTS = (
    "my card was stolen", "where is the new card", "the transfer failed", "how do I top up", "a refund for a transfer",
    "stolen phone and stolen card", "exchange rate of the euro", "please close the account",
)  # fmt: skip


def nearest(
    texts: tuple[str, ...], asked: tuple[str, ...], count: int, labels: list[str] | None = None
) -> list[list[int]]:
    names = None if labels is None else tuple(sorted(set(labels)))
    return choose_examples(find_selection("nearest"), Wanted(Pool(texts, labels), asked, count, names, 1))


def bm25(texts: tuple[str, ...], query: str) -> list[float]:
    """Return BM25 scores by the formula: idf ln(1 + (N - n + 1/2) / (n + 1/2)), saturation k1 1.5, length b 0.75."""
    documents = [Counter(words(text)) for text in texts]
    average = sum(map(Counter.total, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for word in words(query):
            holding = sum(word in other for other in documents)
            idf = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            frequency = document[word]
            score += idf * frequency / (frequency + 1.5 * (0.25 + 0.75 * document.total() / average))
        scores.append(score)
    return scores


def test_the_most_similar_is_shown_last() -> None:
    (shown,) = nearest(TEXTS, ("someone has stolen my card",), 3)
    assert [TEXTS[i] for i in shown] == ["where is the new card", "stolen phone and stolen card", "my card was stolen"]


def test_the_order_is_that_of_the_formula() -> None:
    for query in ("stolen card", "the transfer of the euro", "card card refund"):
        scores = bm25(TEXTS, query)
        (shown,) = nearest(TEXTS, (query,), len(TEXTS))
        assert [scores[i] for i in shown] == sorted(scores), query
        assert len(set(shown)) == len(TEXTS)


def test_fewer_examples_are_a_suffix_of_more() -> None:
    (most,) = nearest(TEXTS, ("a stolen refund",), len(TEXTS))
    for count in range(1, len(TEXTS)):
        assert nearest(TEXTS, ("a stolen refund",), count) == [most[-count:]]


def test_never_the_row_itself_nor_a_duplicate_nor_a_text_twice() -> None:
    texts = (*TEXTS, TEXTS[0], TEXTS[2], TEXTS[2])
    chosen = nearest(texts, texts, 20)
    for text, shown in zip(texts, chosen, strict=True):
        seen = [texts[i] for i in shown]
        assert text not in seen
        assert len(seen) == len(set(seen)) == len(TEXTS) - 1
    assert all(max(shown) < len(TEXTS) for shown in chosen), "of equal texts, the first row is chosen"
    assert nearest(("only",), ("only", "another"), 2) == [[], [0]]


def test_classification_shows_as_many_as_balanced_but_of_any_label() -> None:
    labels = ["card", "card", "money", "money", "money", "card", "other", "other"]
    (shown,) = nearest(TEXTS, ("someone has stolen my card",), 1, labels)
    assert [labels[i] for i in shown] == ["card"] * 3
    (shown,) = nearest(TEXTS, ("someone has stolen my card",), 2, labels)
    assert len(shown) == 6


def test_ties_are_not_in_the_order_of_the_pool() -> None:
    """A pool sorted by label must not show the first label to every row that has no neighbour."""
    texts = tuple(f"word{n}" for n in range(100))
    (shown,) = nearest(texts, ("nothing of it",), 10)
    assert shown == nearest(texts, ("!?",), 10)[0] == [76, 91, 78, 60, 39, 24, 32, 48, 17, 49]


@pytest.mark.parametrize("texts", [("", "?!", "..."), ("", "a", "?")])
def test_texts_without_words_can_be_chosen(texts: tuple[str, ...]) -> None:
    chosen = nearest(texts, ("a b", "..", *texts), 2)
    assert [len(shown) for shown in chosen] == [2] * 5


def test_languages_without_spaces() -> None:
    chinese = ("汇款没有到账", "我的银行卡丢了", "怎么查询汇率", "我想关闭账户")
    for query, expected in (("银行卡被偷了怎么办", 1), ("汇率是多少", 2), ("账户如何关闭", 3)):
        assert nearest(chinese, (query,), 1) == [[expected]], query
    thai = ("การโอนเงินล้มเหลว", "บัตรของฉันถูกขโมย", "อัตราแลกเปลี่ยนเท่าไร", "ฉันต้องการปิดบัญชี")
    for query, expected in (("ทำบัตรหายต้องทำอย่างไร", 1), ("โอนเงินไม่สำเร็จ", 0), ("ปิดบัญชีได้ที่ไหน", 3)):
        assert nearest(thai, (query,), 1) == [[expected]], query


def test_an_empty_pool_is_an_error_and_a_small_pool_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match="icl_examples is 2, but there is no row to show"):
        nearest((), ("a",), 2)
    with caplog.at_level(logging.WARNING, logger="sft"):
        assert len(nearest(TEXTS, ("a", "b"), 9)[0]) == 8
    assert caplog.messages == ["icl_examples asks for 9 in all, but the data allows 8"]


def test_another_process_chooses_the_same() -> None:
    """The choice does not depend on the order of a set, which differs between processes."""
    program = (
        "from sft.prompting.selection.nearest import Neighbours\n"
        "texts = [f'w{n % 7} w{n % 11} w{n % 13}' for n in range(300)]\n"
        "index = Neighbours(texts)\n"
        "print([index.nearest(f'w{n} w{2 * n} w3', 5) for n in range(9)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
