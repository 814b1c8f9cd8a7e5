"""`balanced` draws in the same way as training."""

from __future__ import annotations

from collections import Counter

from sft.prompting.examples import Pool, choose_fixed, choose_for_row
from sft.prompting.selection import Wanted, choose_examples, find_selection

LABELS = ("bad", "fine", "good")
POOL = Pool([f"text {i}" for i in range(15)], [LABELS[i % 3] for i in range(15)])


def test_equally_many_examples_of_each_label() -> None:
    balanced = find_selection("balanced")
    assert (balanced.by_row, balanced.whole_rounds, balanced.last_stay) == (False, True, False)
    asked = ("text 0", "another")
    rows = choose_examples(balanced, Wanted(POOL, asked, 2, LABELS, 13, True))
    assert [Counter((POOL.labels or [])[i] for i in shown) for shown in rows] == [dict.fromkeys(LABELS, 2)] * 2
    assert rows == [choose_for_row(POOL, 2, 13, row, text, LABELS).indices for row, text in enumerate(asked)]
    assert 0 not in rows[0]
    (same,) = choose_examples(balanced, Wanted(POOL, asked, 2, LABELS, 13, False))
    assert same == choose_fixed(POOL, 2, 13, LABELS, exclude=asked).indices
