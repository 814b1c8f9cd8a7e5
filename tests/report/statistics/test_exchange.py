"""Exchanges of runs within rows, against trying all of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from sft.report.statistics import exchange
from sft.report.statistics.exchange import Runs, exchanged, exchanged_hits, of_hits


def by_all_exchanges(first_AN: np.ndarray, second_BN: np.ndarray) -> float:
    """The share of all exchanges of runs within rows that give as large a difference of means, on either side."""
    all_MN = np.concatenate([first_AN, second_BN]).astype(float)
    number = len(first_AN)
    apart = []
    for row_M in all_MN.T:
        chosen = [sum(some) for some in combinations(row_M, number)]
        apart.append([one / number - (row_M.sum() - one) / len(second_BN) for one in chosen])
    observed = abs(first_AN.mean(axis=0).sum() - second_BN.mean(axis=0).sum())
    sums = np.array([0.0])
    for row in apart:
        sums = np.add.outer(sums, np.array(row)).ravel()
    return float((np.abs(sums) >= observed - 1e-9).mean())


def runs_of(values_SN: np.ndarray) -> Runs:
    return Runs(len(values_SN), values_SN.sum(axis=0), (values_SN**2).sum(axis=0), (values_SN**3).sum(axis=0))


@pytest.mark.parametrize(("numbers", "rows"), [((1, 3), 7), ((3, 1), 7), ((2, 3), 5), ((1, 2), 9)])
def test_hits_are_exchanged_in_all_ways(numbers: tuple[int, int], rows: int) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        first, second = (rng.random((number, rows)) < rate for number, rate in zip(numbers, (0.4, 0.8), strict=True))
        found = exchanged_hits(*(of_hits(len(one), one.sum(axis=0)) for one in (first, second)))
        assert found == pytest.approx(by_all_exchanges(first, second), abs=1e-9)


def test_three_moments_come_near_to_all_exchanges() -> None:
    rng = np.random.default_rng(3)
    known, found = [], []
    for shift in (0.0, 0.3, 0.6, 1.0):
        first, second = rng.exponential(size=(1, 40)) + shift, rng.exponential(size=(3, 40))
        pooled_MN = np.concatenate([first, second])
        chosen = rng.integers(0, 4, (40_000, 40))
        alone_P = pooled_MN[chosen, np.arange(40)].sum(axis=1)
        apart_P = alone_P - (pooled_MN.sum() - alone_P) / 3
        known.append(float((np.abs(apart_P) >= abs(first.sum() - second.sum() / 3)).mean()))
        found.append(exchanged(runs_of(first), runs_of(second)))
        assert found[-1] == exchanged(runs_of(second), runs_of(first))
    assert found == pytest.approx(known, abs=0.01)
    assert min(known) < 0.05 < max(known)


def test_equal_runs_say_nothing() -> None:
    values_N = np.random.default_rng(0).random(50)
    one, three = values_N[None], np.repeat(values_N[None], 3, axis=0)
    assert exchanged(runs_of(one), runs_of(three)) == 1
    hits_N = values_N > 0.5
    assert exchanged_hits(of_hits(1, hits_N), of_hits(3, 3 * hits_N.astype(int))) == 1


def test_hits_of_too_many_runs_and_rows_are_left_to_the_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = of_hits(1, np.tile([0, 1], 200)), of_hits(3, np.tile([2, 3, 1, 1], 100))
    exact = exchanged_hits(first, second)
    assert exact == pytest.approx(exchanged(first, second), abs=0.02)
    monkeypatch.setattr(exchange, "MOST_NUMBERS", 100)
    assert exchanged_hits(first, second) is None
