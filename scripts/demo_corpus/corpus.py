"""The mixture: draws the pre-training documents and audits them for leaks.

Shares are in documents. The audit works on the finished texts, not on what the generators promise.
Knows all task families; knows no tokenizer and no model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random

from demo_corpus.documents import Document
from demo_corpus.incontext import InContextTasks
from demo_corpus.lexicon import HELD_OUT_LABELS
from demo_corpus.tasks import NamedTasks

SHARES = {
    "plain": 0.05,
    "review_task": 0.17,
    "review_interview": 0.05,
    "order_task": 0.13,
    "order_interview": 0.05,
    "trip_task": 0.06,
    "word_task": 0.14,
    "word_polarity": 0.01,
    "review_labels": 0.15,
    "clause_labels": 0.08,
    "word_labels": 0.08,
    "order_field": 0.03,
}
SECOND_SHARES = {
    "verdict": 0.45,
    "review_task": 0.05,
    "review_labels": 0.10,
    "clause_labels": 0.12,
    "word_labels": 0.06,
    "word_polarity": 0.02,
    "order_task": 0.08,
    "trip_task": 0.07,
    "word_task": 0.05,
}
TOWN_PATTERN = re.compile(r"customer live|answer with the town\.|town of the", re.IGNORECASE)
LABEL_PATTERN = re.compile("|".join(HELD_OUT_LABELS), re.IGNORECASE)


def draw_documents(count: int, seed: int, shares: dict[str, float] = SHARES) -> list[Document]:
    """`count` documents, reproducible from `seed`."""
    rng = Random(seed)
    named = NamedTasks(rng)
    in_context = InContextTasks(named)
    makers: dict[str, Callable[[], Document]] = {
        name: getattr(named if hasattr(named, name) else in_context, name) for name in shares
    }
    names = rng.choices(list(shares), weights=list(shares.values()), k=count)
    return [makers[name]() for name in names]


def audit(documents: Sequence[Document], held_out_texts: Iterable[str]) -> dict[str, int]:
    """Counts that prove the no-leak property, for `MUST_BE_ZERO` of `build_demo.py` to judge.

    Beside a held-out label word, the longest user text must be one word: `longest_user_text_...` says so independently
    of the generators' own flag.
    """
    counts: Counter[str] = Counter(documents=len(documents))
    texts: set[str] = set()
    longest = 0
    for document in documents:
        has_label = any(LABEL_PATTERN.search(text) for text in document.texts())
        if has_label:
            longest = max(longest, *(len(turn.content.split()) for turn in document.turns if turn.role == "user"))
        counts["documents_with_review_text"] += document.has_review
        counts["documents_with_held_out_label_word"] += has_label
        counts["documents_with_review_text_and_held_out_label_word"] += has_label and document.has_review
        counts["documents_asking_for_the_town_of_an_order"] += any(map(TOWN_PATTERN.search, document.texts()))
        texts.update(document.texts())
    counts["longest_user_text_in_words_beside_a_held_out_label_word"] = longest
    counts["held_out_texts_found_in_pretraining"] = len(texts.intersection(held_out_texts))
    return dict(counts)
