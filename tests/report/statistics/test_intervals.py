"""Intervals without resampling equal those of scipy and statsmodels."""

from __future__ import annotations

import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from sft.report.statistics.intervals import mean_bounds, share_bounds

FIRST, SECOND = [0.71, 0.74, 0.69], [0.6, 0.66, 0.61, 0.7, 0.58]


def test_intervals_over_seeds_are_students_t() -> None:
    for values in (FIRST, SECOND, FIRST[:2]):
        known = stats.t.interval(0.95, len(values) - 1, loc=stats.tmean(values), scale=stats.sem(values))
        assert mean_bounds(values) == pytest.approx(known)


def test_without_spread_there_is_no_interval_over_seeds() -> None:
    assert mean_bounds([0.7]) is None
    assert mean_bounds([0.1 + 0.2, 0.3, 0.3]) is None


@pytest.mark.parametrize(("hits", "rows"), [(0, 10), (10, 10), (3, 10), (190, 200), (1, 1)])
def test_a_share_is_wilsons(hits: int, rows: int) -> None:
    known = proportion_confint(hits, rows, method="wilson")
    assert share_bounds(hits, rows) == pytest.approx(known, abs=1e-12)
