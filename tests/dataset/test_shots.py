"""Few-shot sampling: balanced, nested, without replacement, the same everywhere."""

from __future__ import annotations

import itertools
import logging
from collections import Counter

import pytest

from sft.dataset.shots import draw_shots, draw_shots_of_sets, last_shots
from sft.errors import DataError

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


def test_every_prefix_is_balanced() -> None:
    shots = draw_shots(ANSWERS, ["a", "b", "c"], 5, seed=13)
    counts = Counter(ANSWERS[i] for i in shots.indices[:6])
    assert set(counts.values()) == {2}


def test_seeds_differ_and_are_frozen() -> None:
    first, second = (draw_shots(ANSWERS, ["a", "b", "c"], 4, seed=seed) for seed in (13, 14))
    assert first.indices != second.indices
    # frozen: the same rows on every machine and version of Python
    assert draw_shots(ANSWERS, ["a", "b", "c"], 2, seed=13).indices == (8, 24, 58, 3, 39, 46)


def test_total_for_generation() -> None:
    shots = draw_shots(["x"] * 50, None, 7, seed=13)
    assert len(shots) == 7
    assert shots.per_label == {}


def test_fewer_rows_than_requested_are_all_drawn_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="sft")
    logging.getLogger("sft").propagate = True
    shots = draw_shots([*"aaaa", "b"], ["a", "b"], 3, seed=13)
    assert shots.per_label == {"a": 3, "b": 1}
    assert 'the train split has 1 of "b"' in caplog.text
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
        for label, drawn in shots.per_label.items():
            assert drawn == sum(label in SETS[row] for row in shots.indices) >= count
    assert len({draw_shots_of_sets(SETS, ("a", "b", "c"), 1, seed).indices for seed in range(20)}) > 3
    everything = draw_shots_of_sets(SETS, ("a", "b", "c"), "all", 13)
    assert sorted(everything.indices) == list(range(len(SETS)))
    assert everything.per_label == {"a": 4, "b": 5, "c": 3}


@pytest.mark.parametrize(("size", "count"), [(2, 2), (0.25, 2), (0.01, 1)])
def test_without_validation_shots_the_rest_equals_a_smaller_set(size: float, count: int) -> None:
    shots = draw_shots(ANSWERS, ["a", "b", "c"], 8, seed=13).indices
    held = last_shots(shots, [ANSWERS[row] for row in shots], size)
    assert Counter(ANSWERS[row] for row in held) == {"a": count, "b": count, "c": count}
    smaller = draw_shots(ANSWERS, ["a", "b", "c"], 8 - count, seed=13).indices
    assert set(shots) - set(held) == set(smaller)


def test_no_shots_left_to_train_on_is_an_error() -> None:
    with pytest.raises(DataError, match=r'validation_size 2 leaves none of the 2 shots of the label "b"'):
        last_shots(range(7), list("aaaaabb"), 2)
    with pytest.raises(DataError, match=r"validation_size 0.9 leaves none of the 1 shots to train on"):
        last_shots([4], [""], 0.9)
