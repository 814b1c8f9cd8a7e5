"""Rows of calibration probes: content-free texts, and random words of the task's texts."""

from __future__ import annotations

from typing import Any

import pytest

from sft.config.sections.prompting import PromptingConfig
from sft.prompting.probes import CONTENT_FREE, content_free_rows, domain_rows, segmenter
from sft.prompting.render import Example, Renderer

ROWS = [
    {"title": "a b", "text": "one two three"},
    {"title": "c", "text": "four five six seven"},
    {"title": "", "text": "eight"},
]


def test_content_free_rows_have_the_same_text_in_every_column() -> None:
    assert CONTENT_FREE == ("N/A", "[MASK]", "")
    assert content_free_rows(("a", "b"))[1] == {"a": "[MASK]", "b": "[MASK]"}


def test_random_words_come_from_the_texts_and_have_their_mean_length() -> None:
    rows = domain_rows(ROWS, 200, seed=1)
    assert len(rows) == 200
    texts = [str(row["text"]).split(" ") for row in rows]
    assert {len(words) for words in texts} == {round(8 / 3)}
    assert {word for words in texts for word in words} == {word for row in ROWS for word in str(row["text"]).split()}
    titles = [str(row["title"]) for row in rows]
    assert set(titles) == {"a", "b", "c"}  # three words in three texts: one per text
    assert len({tuple(words) for words in texts}) > 50


def test_rows_are_seeded_and_fewer_are_a_prefix_of_more() -> None:
    assert domain_rows(ROWS, 5, seed=1) == domain_rows(ROWS, 5, seed=1)
    assert domain_rows(ROWS, 5, seed=1) == domain_rows(ROWS, 20, seed=1)[:5]
    assert domain_rows(ROWS, 5, seed=1) != domain_rows(ROWS, 5, seed=2)


def test_texts_without_words_give_empty_probes() -> None:
    assert domain_rows([{"text": " "}, {"text": ""}], 2, seed=1) == [{"text": ""}, {"text": ""}]
    assert domain_rows([], 2, seed=1) == [{}, {}]


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("en", "It's  fine,\nreally.", ["It's", "fine,", "really."]),
        ("de-AT", "Na gut", ["Na", "gut"]),
        ("ja", "今日は天気です", ["今日は", "天気です"]),
        ("jpn", "今日は天気です", ["今日は", "天気です"]),
        ("zh", "今天是晴天", ["今天", "是", "晴天"]),
        ("zh_Hant-TW", "今天是晴天", ["今天", "是", "晴天"]),
        ("TH", "วันนี้อากาศดี", ["วัน", "นี้", "อากาศ", "ดี"]),
    ],
)
def test_words_by_language(language: str, text: str, words: list[str]) -> None:
    split, space = segmenter(language)
    assert split(text) == words
    assert space == (" " if language in ("en", "de-AT") else "")


def test_words_of_languages_without_spaces_are_joined_without_spaces() -> None:
    (row,) = domain_rows([{"text": "今天是晴天"}], 1, seed=3, language="zh")
    assert len(str(row["text"])) >= 3
    assert " " not in str(row["text"])


def test_a_probe_is_a_row_with_other_content(tokenizer: Any) -> None:
    """The ids are exactly those of the template with the probe's text."""
    prompting = PromptingConfig(instruction="How is N/A?", input_columns=("text",), output_column="label")
    renderer = Renderer(tokenizer, prompting)
    shown = [Example({"text": "lovely N/A"}, "good")]
    for row in content_free_rows(("text",)):
        probe = renderer.render_labels(row, shown, ["good", "bad"])
        turns = [
            {"role": "system", "content": "How is N/A?"},
            {"role": "user", "content": "lovely N/A"},
            {"role": "assistant", "content": "good"},
            {"role": "user", "content": row["text"]},
        ]
        expected = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        assert probe.prompt.ids == list(expected)
