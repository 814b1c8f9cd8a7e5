"""The recipes that cannot be told apart from the best."""

from __future__ import annotations

import numpy as np
import pytest

from sft.report.statistics import ties
from sft.report.statistics.ties import tied_with_best


def hits(rates: list[float], rows: int = 400) -> np.ndarray:
    """Which rows each recipe gets right [N, R]: the rate's easiest, with noise."""
    rng = np.random.default_rng(0)
    hard_N = rng.random(rows)
    return np.stack([0.6 * hard_N + 0.4 * rng.random(rows) < rate for rate in rates], axis=1).astype(np.float32)


def test_the_clearly_worse_are_told_apart_and_the_others_are_not() -> None:
    values_NR = hits([0.7, 0.7, 0.3, 0.7])
    assert tied_with_best(values_NR, higher_is_better=True).tolist() == [True, True, False, True]
    assert tied_with_best(values_NR, higher_is_better=False).tolist() == [False, False, True, False]


def test_recipes_with_the_same_outcomes_are_tied() -> None:
    one = hits([0.5])
    assert tied_with_best(np.repeat(one, 3, axis=1), higher_is_better=True).all()
    assert tied_with_best(one, higher_is_better=True).tolist() == [True]


def test_few_rows_tell_nothing_apart() -> None:
    assert tied_with_best(np.array([[1.0, 0.0]] * 5), higher_is_better=True).all()


def test_what_is_rounding_tells_nothing_apart() -> None:
    one_N = np.random.default_rng(1).random(300)
    values_NR = np.stack([one_N, one_N * (1 + 1e-9), (one_N.astype(np.float32) * 3 / 3).astype(np.float64)], axis=1)
    assert tied_with_best(values_NR, higher_is_better=True).all()


def test_unequal_numbers_of_runs_need_a_second_test() -> None:
    values_NR = hits([0.7, 0.7, 0.3, 0.3])
    asked: list[tuple[int, int]] = []

    def tied(runs: list[int], p: float) -> list[bool]:
        asked.clear()
        return tied_with_best(values_NR, True, runs, lambda one, other: asked.append((one, other)) or p).tolist()

    assert tied([1, 1, 1, 1], 1.0) == [True, True, False, False]
    assert asked == []
    assert tied([3, 3, 1, 3], 1.0) == [True, True, True, False]  # the last one is behind an equal number
    assert {other for _, other in asked} == {2}
    assert tied([3, 3, 1, 3], 0.04 / 6) == [True, True, False, False]
    assert tied([3, 3, 1, 3], 0.05 / 6) == [True, True, True, False]


def test_the_critical_value_is_that_of_the_largest_of_all_pairs() -> None:
    values_NR = hits([0.5, 0.5, 0.6, 0.7], rows=60).astype(np.float64)
    rng = np.random.default_rng(9)
    pairs = [(one, other) for one in range(4) for other in range(one)]
    differences_NC = np.stack([values_NR[:, one] - values_NR[:, other] for one, other in pairs], axis=1)
    scale_C = np.sqrt((differences_NC**2).sum(axis=0))
    largest = np.abs((rng.integers(0, 2, (40_000, 60)) * 2 - 1) @ differences_NC / scale_C).max(axis=1)

    centred_NR = values_NR - values_NR.mean(axis=1, keepdims=True)
    inverse_RR = ties._inverse_errors(centred_NR).astype(np.float32)
    found = ties._critical(centred_NR.astype(np.float32), inverse_RR)

    assert found == pytest.approx(float(np.quantile(largest, 0.96)), abs=0.1)
    np.testing.assert_allclose([1 / inverse_RR[one, other] for one, other in pairs], scale_C, rtol=1e-5)
