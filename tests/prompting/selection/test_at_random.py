"""`random`: ignores labels; for generation, it equals the draw of earlier versions."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from sft.errors import DataError
from sft.prompting.examples import Pool
from sft.prompting.selection import Wanted, choose_examples, find_selection

LABELS = ("few", "many")
TEXTS = tuple(f"text {i}" for i in range(40))
POOL = Pool(TEXTS, ["few" if i % 10 == 0 else "many" for i in range(40)])


def drawn(pool: Pool, asked: tuple[str, ...], count: int, seed: int = 13, per_row: bool = False) -> list[list[int]]:
    names = None if pool.labels is None else LABELS
    return choose_examples(find_selection("random"), Wanted(pool, asked, count, names, seed, per_row))


@pytest.mark.parametrize("per_row", [False, True])
def test_as_many_examples_as_balanced_and_each_row_equally_likely(per_row: bool) -> None:
    seen: Counter[str] = Counter()
    for seed in range(200):
        (shown,) = drawn(POOL, ("another",), 2, seed, per_row)
        assert len(set(shown)) == 4
        seen.update((POOL.labels or [])[i] for i in shown)
    assert 40 < seen["few"] < 130  # a tenth of the 800, not a half


@pytest.mark.parametrize("per_row", [False, True])
def test_labels_change_nothing(per_row: bool) -> None:
    """Two examples for each of two labels equal the four examples of a task without labels (generation)."""
    unlabelled = choose_examples(find_selection("random"), Wanted(Pool(TEXTS), ("a", "b"), 4, None, 13, per_row))
    assert drawn(POOL, ("a", "b"), 2, per_row=per_row) == unlabelled


def test_fewer_examples_are_a_prefix_of_more_and_depend_on_the_seed() -> None:
    (most,) = drawn(POOL, ("a",), 8)
    assert all(drawn(POOL, ("a",), count) == [most[: 2 * count]] for count in range(1, 8))
    assert len({tuple(drawn(POOL, ("a",), 1, seed)[0]) for seed in range(20)}) > 15
    assert len(set(map(tuple, drawn(POOL, ("a",) * 20, 1, per_row=True)))) > 15


def test_no_example_has_the_text_of_an_evaluated_row(caplog: pytest.LogCaptureFixture) -> None:
    small = Pool(TEXTS[:4], ["few", "many", "many", "many"])
    for seed in range(20):
        assert 2 not in drawn(small, (TEXTS[2],), 1, seed, per_row=True)[0]
        assert not {1, 2} & set(drawn(small, (TEXTS[2], TEXTS[1]), 1, seed)[0])
    with caplog.at_level(logging.WARNING, logger="sft"):
        assert len(drawn(small, ("a",), 3)[0]) == 4
    assert caplog.messages == ["icl_examples asks for 6 in all, but the data allows 4"]
    with pytest.raises(DataError, match="there is no row to show"):
        drawn(Pool((), []), ("a",), 1)
