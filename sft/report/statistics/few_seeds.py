"""p and interval of a difference whose variance is known in part, and in part estimated from a few seeds. Arrays only.

The difference is normal with the variance r + s. The part r, of hundreds of rows, is as good as known; of s there is an
estimate with few degrees of freedom, three seeds give two. A small estimate may come from a large s, so the normal
distribution is averaged over all s that could be behind the estimate (Behrens 1929, Fisher 1935). Without r this is
Student's t, exactly; without s the normal distribution.

Plain Behrens-Fisher intervals are too wide where r and s are about equal (with three seeds they cover 97.6 %); those
with Satterthwaite's degrees of freedom too narrow where s is most of it (92.2 %). Between both lies the weight
(1 + r/s)^(1/2) on small s, which gives 94.7 to 96.5 % with three seeds, 95.0 to 95.8 with five, 95.0 to 95.4 with ten:
integrated numerically, for all shares of r and s. Far out in the tails it errs, as Satterthwaite's does much more: at
1 in 2,500, which a correction for many pairs asks for, up to 3 times as often as it should (Satterthwaite 38 times).
There the plain weight counts, which never errs on that side: p below 5 % is the plain one.
Shapes: C differences, K points of an integral.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sft.report.statistics.sums import Floats

_LEVEL = 0.05
_BETWEEN, _PLAIN = 0.5, 0.0  # exponents of 1 + r/s
_MOST_FREEDOM = 40.0  # with more seeds than that the estimate is taken for one of so many
_POINTS = 128
_AT_ONCE = 4_096
_STEPS = 28  # of a bisection
_ROUNDING = 1e-12


class Variance(NamedTuple):
    """Of each difference [C].

    Args:
        rows_C: the part of rows; nan where nothing is known.
        seeds_C: the estimate of the part of seeds; 0 where there is none.
        freedom_C: its degrees of freedom.
    """

    rows_C: Floats
    seeds_C: Floats
    freedom_C: Floats

    def at(self, places: Any) -> Variance:
        """Those of some differences, by an index of numpy's."""
        return Variance(*(one[places] for one in self))


def p_values(difference_C: Floats, variance: Variance, rough: bool = False) -> Floats:
    """Two-sided p [C]; 1 for no difference; nan where the variance is not known.

    Args:
        difference_C: the differences.
        variance: of these.
        rough: whether the normal distribution will do where p is well above 5 %.
    """
    from scipy.special import ndtr

    size_C = np.abs(difference_C)
    total_C = variance.rows_C + variance.seeds_C
    with np.errstate(divide="ignore", invalid="ignore"):
        p_C = 2 * ndtr(-size_C / np.sqrt(total_C))
    none_C = size_C <= _ROUNDING
    p_C = np.where(none_C, np.where(np.isnan(total_C), np.nan, 1.0), p_C)
    asked_C = np.flatnonzero(~none_C & (variance.seeds_C > 0) & (p_C <= (2 * _LEVEL if rough else 1.0)))
    for start in range(0, len(asked_C), _AT_ONCE):
        places = asked_C[start : start + _AT_ONCE]
        points = _Points(variance.at(places))
        between, plain = (points.p_values(size_C[places], points.weights(one)) for one in (_BETWEEN, _PLAIN))
        p_C[places] = np.maximum(between, np.minimum(plain, _LEVEL * (1 - 1e-9)))
    return p_C


def half_widths(variance: Variance) -> Floats:
    """Of the 95 % intervals of differences [C]: p is 5 % at their ends; nan where the variance is not known, or 0."""
    total_C = variance.rows_C + variance.seeds_C
    known_C = np.flatnonzero(total_C > _ROUNDING**2)
    found_C = np.full(len(total_C), np.nan)
    for start in range(0, len(known_C), _AT_ONCE):
        places = known_C[start : start + _AT_ONCE]
        points = _Points(variance.at(places))
        weights_CK = points.weights(_BETWEEN)
        low_C, high_C = np.sqrt(total_C[places]), 100 * np.sqrt(total_C[places])
        for _ in range(_STEPS):
            middle_C = np.sqrt(low_C * high_C)
            inside_C = points.p_values(middle_C, weights_CK) > _LEVEL
            low_C, high_C = np.where(inside_C, middle_C, low_C), np.where(inside_C, high_C, middle_C)
        found_C[places] = high_C
    return found_C


class _Points:
    """What the variance could be [C, K], and how likely each is.

    Args:
        variance: known, of some differences.
    """

    def __init__(self, variance: Variance) -> None:
        rows_C1, seeds_C1 = variance.rows_C[:, None], variance.seeds_C[:, None]
        freedom_C1 = np.minimum(np.maximum(variance.freedom_C, 1.0), _MOST_FREEDOM)[:, None]
        low_C1, high_C1 = -60 / freedom_C1 - 1, np.log(30 + freedom_C1 + 10 * np.sqrt(2 * freedom_C1))
        # the logarithm of a chi-square variable, from where its chance is 1e-13
        log_CK = low_C1 + (high_C1 - low_C1) * np.linspace(0, 1, _POINTS)
        self._log_weights_CK = freedom_C1 / 2 * log_CK - np.exp(log_CK) / 2
        of_seeds_CK = seeds_C1 * freedom_C1 / np.exp(log_CK)
        with np.errstate(divide="ignore"):
            self._log_ratio_CK = np.where(seeds_C1 > 0, np.log1p(rows_C1 / of_seeds_CK), 0.0)
        self._error_CK = np.sqrt(rows_C1 + of_seeds_CK)

    def weights(self, exponent: float) -> Floats:
        """How likely each point is, with the exponent of 1 + r/s."""
        log_CK = self._log_weights_CK + exponent * self._log_ratio_CK
        weights_CK = np.exp(log_CK - log_CK.max(axis=1, keepdims=True))
        return np.asarray(weights_CK / weights_CK.sum(axis=1, keepdims=True))

    def p_values(self, size_C: Floats, weights_CK: Floats) -> Floats:
        """The share of a normal distribution that is further from 0 than a size, averaged over the points."""
        from scipy.special import ndtr

        return np.asarray((weights_CK * (2 * ndtr(-size_C[:, None] / self._error_CK))).sum(axis=1))
