"""Exchange tests, compared with an enumeration of all exchanges of runs within rows."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from sft.report.statistics import exchange
from sft.report.statistics.exchange import Runs, exact_exchange, moments_exchange, runs_of_hits


def by_all_exchanges(first_AN: np.ndarray, second_BN: np.ndarray) -> float:
    """Return the share of all exchanges of runs within rows whose difference of means is as large, two-sided."""
    all_MN = np.concatenate([first_AN, second_BN]).astype(float)
    number = len(first_AN)
    differences = []
    for row_M in all_MN.T:
        totals = [sum(values) for values in combinations(row_M, number)]
        differences.append([total / number - (row_M.sum() - total) / len(second_BN) for total in totals])
    observed = abs(first_AN.mean(axis=0).sum() - second_BN.mean(axis=0).sum())
    sums = np.array([0.0])
    for row in differences:
        sums = np.add.outer(sums, np.array(row)).ravel()
    return float((np.abs(sums) >= observed - 1e-9).mean())


def runs_of(values_SN: np.ndarray) -> Runs:
    return Runs(len(values_SN), values_SN.sum(axis=0), (values_SN**2).sum(axis=0), (values_SN**3).sum(axis=0))


@pytest.mark.parametrize(("numbers", "rows"), [((1, 3), 7), ((3, 1), 7), ((2, 3), 5), ((1, 2), 9)])
def test_exact_p_equals_the_enumeration_of_all_exchanges(numbers: tuple[int, int], rows: int) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        first, second = (rng.random((number, rows)) < rate for number, rate in zip(numbers, (0.4, 0.8), strict=True))
        p = exact_exchange(*(runs_of_hits(len(hits_SN), hits_SN.sum(axis=0)) for hits_SN in (first, second)))
        assert p == pytest.approx(by_all_exchanges(first, second), abs=1e-9)


def test_p_from_three_moments_is_near_that_of_random_exchanges() -> None:
    rng = np.random.default_rng(3)
    expected, p_values = [], []
    for shift in (0.0, 0.3, 0.6, 1.0):
        first, second = rng.exponential(size=(1, 40)) + shift, rng.exponential(size=(3, 40))
        pooled_MN = np.concatenate([first, second])
        chosen = rng.integers(0, 4, (40_000, 40))
        first_P = pooled_MN[chosen, np.arange(40)].sum(axis=1)
        differences_P = first_P - (pooled_MN.sum() - first_P) / 3
        expected.append(float((np.abs(differences_P) >= abs(first.sum() - second.sum() / 3)).mean()))
        p_values.append(moments_exchange(runs_of(first), runs_of(second)))
        assert p_values[-1] == moments_exchange(runs_of(second), runs_of(first))
    assert p_values == pytest.approx(expected, abs=0.01)
    assert min(expected) < 0.05 < max(expected)


def test_p_is_one_for_equal_runs() -> None:
    values_N = np.random.default_rng(0).random(50)
    single_SN, triple_SN = values_N[None], np.repeat(values_N[None], 3, axis=0)
    assert moments_exchange(runs_of(single_SN), runs_of(triple_SN)) == 1
    hits_N = values_N > 0.5
    assert exact_exchange(runs_of_hits(1, hits_N), runs_of_hits(3, 3 * hits_N.astype(int))) == 1


def test_no_exact_p_if_it_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = runs_of_hits(1, np.tile([0, 1], 200)), runs_of_hits(3, np.tile([2, 3, 1, 1], 100))
    exact = exact_exchange(first, second)
    assert exact == pytest.approx(moments_exchange(first, second), abs=0.02)
    monkeypatch.setattr(exchange, "MOST_NUMBERS", 100)
    assert exact_exchange(first, second) is None
