"""Few-shot sampling: balanced, nested, without replacement, the same everywhere."""

from __future__ import annotations

import itertools
import logging
from collections import Counter

import pytest

from sft.dataset.shots import draw_shots, draw_shots_of_sets

ANSWERS = [label for label in "abc" for _ in range(20)]


def test_balanced_and_without_replacement() -> None:
    shots = draw_shots(ANSWERS, ["a", "b", "c"], 8, seed=13)
    assert Counter(ANSWERS[i] for i in shots.indices) == {"a": 8, "b": 8, "c": 8}
    assert len(set(shots.indices)) == 24
    assert shots.per_label == {"a": 8, "b": 8, "c": 8}


@pytest.mark.parametrize("labels", [["a", "b", "c"], None])
def test_larger_sets_contain_smaller_ones(labels: list[str] | None) -> None:
    sets = [set(draw_shots(ANSWERS, labels, count, seed=13).indices) for count in (1, 4, 8, 16)]
    assert all(small < large for small, large in itertools.pairwise(sets))


def test_every_beginning_is_balanced() -> None:
    shots = draw_shots(ANSWERS, ["a", "b", "c"], 5, seed=13)
    counts = Counter(ANSWERS[i] for i in shots.indices[:6])
    assert set(counts.values()) == {2}


def test_seeds_differ_and_are_frozen() -> None:
    first, second = (draw_shots(ANSWERS, ["a", "b", "c"], 4, seed=seed) for seed in (13, 14))
    assert first.indices != second.indices
    # frozen: the same rows on any machine and version of Python
    assert draw_shots(ANSWERS, ["a", "b", "c"], 2, seed=13).indices == (8, 24, 58, 3, 39, 46)


def test_total_for_generation() -> None:
    shots = draw_shots(["x"] * 50, None, 7, seed=13)
    assert len(shots) == 7
    assert shots.per_label == {}


def test_fewer_rows_than_asked_warns_and_takes_what_is_there(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="sft")
    logging.getLogger("sft").propagate = True
    shots = draw_shots([*"aaaa", "b"], ["a", "b"], 3, seed=13)
    assert shots.per_label == {"a": 3, "b": 1}
    assert 'label "b"' in caplog.text
    assert "has 1" in caplog.text


def test_all_takes_every_row_once() -> None:
    shots = draw_shots(ANSWERS, ["a", "b", "c"], "all", seed=13)
    assert sorted(shots.indices) == list(range(60))


SETS = [{"a"}, {"a", "b"}, {"b"}, set(), {"c", "a"}, {"b"}, {"c"}, {"a", "b", "c"}, set(), {"b"}]


def test_shots_of_rows_with_several_labels() -> None:
    most = draw_shots_of_sets(SETS, ("a", "b", "c"), 3, 13)
    for count in (1, 2):
        shots = draw_shots_of_sets(SETS, ("a", "b", "c"), count, 13)
        assert len(set(shots.indices)) == len(shots.indices) <= 3 * count
        assert set(shots.indices) <= set(most.indices), "nested"
        for label, there in shots.per_label.items():
            assert there == sum(label in SETS[row] for row in shots.indices) >= count
    assert len({draw_shots_of_sets(SETS, ("a", "b", "c"), 1, seed).indices for seed in range(20)}) > 3
    everything = draw_shots_of_sets(SETS, ("a", "b", "c"), "all", 13)
    assert sorted(everything.indices) == list(range(len(SETS)))
    assert everything.per_label == {"a": 4, "b": 5, "c": 3}
