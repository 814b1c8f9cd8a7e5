"""A difference whose variance comes from few seeds: limiting cases, an independent integral, and its error rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from sft.report.statistics.few_seeds import Variance, half_widths, p_values


def variance(rows: float, seeds: float, freedom: float) -> Variance:
    return Variance(*(np.array([float(one)]) for one in (rows, seeds, freedom)))


def p(difference: float, rows: float, seeds: float, freedom: float) -> float:
    return float(p_values(np.array([difference]), variance(rows, seeds, freedom))[0])


@pytest.mark.parametrize("freedom", [1, 2, 2.7, 4, 9, 30])
def test_without_a_part_of_rows_it_is_students_t(freedom: float) -> None:
    for t in (0.1, 0.9, 2.0, 4.0, 12.0):
        assert p(t * 0.3, 0, 0.09, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-3)
    half = half_widths(variance(0, 0.09, freedom))[0]
    assert half == pytest.approx(0.3 * stats.t.ppf(0.975, freedom), rel=1e-6)


def test_without_a_part_of_seeds_it_is_the_normal_distribution() -> None:
    assert p(0.6, 0.09, 0, 0) == pytest.approx(2 * stats.norm.sf(2.0))
    assert half_widths(variance(0.09, 0, 0))[0] == pytest.approx(0.3 * stats.norm.ppf(0.975), rel=1e-6)


def plain(difference: float, rows: float, seeds: float, freedom: float) -> float:
    """Return the Behrens-Fisher p by adaptive quadrature over the chi-square variable of the estimate."""

    def integrand(chi2: float) -> float:
        return float(
            stats.chi2.pdf(chi2, freedom) * 2 * stats.norm.sf(difference / np.sqrt(rows + seeds * freedom / chi2))
        )

    return sum(integrate.quad(integrand, low, high, limit=200)[0] for low, high in ((0, 0.01), (0.01, 1), (1, np.inf)))


@pytest.mark.parametrize("freedom", [2.0, 4.0, 9.0])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_in_the_tails_it_is_behrens_fisher(freedom: float, share: float) -> None:
    for difference in (5.0, 8.0, 20.0):
        known = plain(difference, 1 - share, share, freedom)
        assert p(difference, 1 - share, share, freedom) == pytest.approx(min(known, 0.05), rel=2e-3)


@settings(deadline=None)
@given(
    st.floats(1e-6, 1.0), st.floats(1e-6, 1.0), st.floats(1.0, 40.0), st.floats(0.0, 30.0), st.floats(1e-3, 1e3)
)  # fmt: skip
def test_p_and_the_interval_agree_on_any_scale(
    rows: float, seeds: float, freedom: float, size: float, scale: float
) -> None:
    half = float(half_widths(variance(rows, seeds, freedom))[0])
    difference = size * np.sqrt(rows + seeds)
    if abs(difference / half - 1) > 1e-6:
        assert (p(difference, rows, seeds, freedom) <= 0.05) == (difference > half)
    assert p(scale * difference, scale**2 * rows, scale**2 * seeds, freedom) == pytest.approx(
        p(difference, rows, seeds, freedom), rel=1e-6, abs=1e-12
    )
    assert p(-difference, rows, seeds, freedom) == p(difference, rows, seeds, freedom)
    assert p(1.01 * difference, rows, seeds, freedom) <= p(difference, rows, seeds, freedom) + 1e-12


def test_no_difference_and_unknown_variances() -> None:
    assert p(0.0, 0.1, 0.1, 2) == 1
    assert p(0.0, 0.0, 0.0, 0) == 1
    assert np.isnan(p(0.3, np.nan, np.nan, np.nan))
    assert np.isnan(half_widths(variance(np.nan, np.nan, np.nan))[0])
    assert np.isnan(half_widths(variance(0, 0, 0))[0])


@pytest.mark.parametrize("freedom", [2, 4, 9])
def test_levels_hold_for_all_shares_of_both_parts(freedom: int) -> None:
    """Integrated over the estimate's distribution: between 3.5 and 5.4 % at 5 %, and not more than 0.2 % at 0.2 %."""
    quantiles, weights = _quantiles()
    for share in (0.05, 0.25, 0.5, 0.75, 0.9, 0.97):
        estimates = share * stats.chi2.ppf(quantiles, freedom) / freedom
        known = Variance(np.full(len(estimates), 1 - share), estimates, np.full(len(estimates), float(freedom)))
        level = float(weights @ (2 * stats.norm.sf(half_widths(known))))
        assert 0.035 <= level <= 0.0545, share
        assert _level(known, weights, 0.002) <= 0.00205, share


def _quantiles() -> tuple[np.ndarray, np.ndarray]:
    """Return quantiles of a distribution, denser where its variable is small, and their weights."""
    ends = np.linspace(0, 1, 241) ** 4
    return (ends[1:] + ends[:-1]) / 2, np.diff(ends)


def _level(known: Variance, weights: np.ndarray, level: float) -> float:
    """Return how often p is below a level, for a total variance of 1."""
    low, high = np.full(len(weights), 1e-3), np.full(len(weights), 1e4)
    for _ in range(60):
        middle = np.sqrt(low * high)
        above = p_values(middle, known) > level
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return float(weights @ (2 * stats.norm.sf(high)))
