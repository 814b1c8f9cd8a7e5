"""p and interval of a difference whose variance is partly known and partly estimated from few seeds. Arrays only.

The difference is normal with variance r + s. The part r comes from hundreds of rows and is practically known. The
estimate of s has few degrees of freedom: two with three seeds. A small estimate may come from a large s, so the normal
distribution is averaged over all s that could have produced the estimate (Behrens 1929, Fisher 1935). Without r this is
exactly Student's t, without s the normal distribution.

Plain Behrens-Fisher intervals are too wide where r and s are about equal: with three seeds they cover 97.6 %. Intervals
with Satterthwaite's degrees of freedom are too narrow where s dominates: 92.2 %. The weight (1 + r/s)^(1/2) on small s
is in between: it covers 94.7 to 96.5 % with three seeds, 95.0 to 95.8 % with five and 95.0 to 95.4 % with ten,
integrated numerically for all shares of r and s. Far in the tails it is too optimistic: at 1 in 2,500, which a
correction for many pairs needs, it errs up to 3 times too often (Satterthwaite 38 times). The plain weight is never too
optimistic, so p below 5 % is the plain one.
Shapes: C differences, K points of an integral.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sft.report.statistics.sums import Floats

_LEVEL = 0.05
_BETWEEN, _PLAIN = 0.5, 0.0  # exponents of 1 + r/s
_MOST_FREEDOM = 40.0  # an estimate from more seeds is treated as if it had this many
_POINTS = 128
_AT_ONCE = 4_096
_STEPS = 28  # of a bisection
_ROUNDING = 1e-12


class Variance(NamedTuple):
    """Variance of each difference [C].

    Args:
        rows_C: part of rows; NaN where unknown.
        seeds_C: estimated part of seeds; 0 for deterministic recipes.
        freedom_C: degrees of freedom of the estimate.
    """

    rows_C: Floats
    seeds_C: Floats
    freedom_C: Floats

    def at(self, index: Any) -> Variance:
        """Return the variance of the differences at a numpy index."""
        return Variance(*(one[index] for one in self))


def p_values(difference_C: Floats, variance: Variance, rough: bool = False) -> Floats:
    """Return the two-sided p [C]; 1 for no difference; NaN where the variance is unknown.

    Args:
        difference_C: the differences.
        variance: their variance.
        rough: whether the normal distribution is enough where p is well above 5 %.
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
        part_C = asked_C[start : start + _AT_ONCE]
        points = _Points(variance.at(part_C))
        between, plain = (points.p_values(size_C[part_C], points.weights(one)) for one in (_BETWEEN, _PLAIN))
        p_C[part_C] = np.maximum(between, np.minimum(plain, _LEVEL * (1 - 1e-9)))
    return p_C


def half_widths(variance: Variance) -> Floats:
    """Return half the width of each 95 % interval [C], where p is 5 % at the ends; NaN for an unknown variance or 0."""
    total_C = variance.rows_C + variance.seeds_C
    known_C = np.flatnonzero(total_C > _ROUNDING**2)
    half_C = np.full(len(total_C), np.nan)
    for start in range(0, len(known_C), _AT_ONCE):
        part_C = known_C[start : start + _AT_ONCE]
        points = _Points(variance.at(part_C))
        weights_CK = points.weights(_BETWEEN)
        low_C, high_C = np.sqrt(total_C[part_C]), 100 * np.sqrt(total_C[part_C])
        for _ in range(_STEPS):
            middle_C = np.sqrt(low_C * high_C)
            inside_C = points.p_values(middle_C, weights_CK) > _LEVEL
            low_C, high_C = np.where(inside_C, middle_C, low_C), np.where(inside_C, high_C, middle_C)
        half_C[part_C] = high_C
    return half_C


class _Points:
    """Possible variances [C, K] and their weights.

    Args:
        variance: known variance of some differences.
    """

    def __init__(self, variance: Variance) -> None:
        rows_C1, seeds_C1 = variance.rows_C[:, None], variance.seeds_C[:, None]
        freedom_C1 = np.minimum(np.maximum(variance.freedom_C, 1.0), _MOST_FREEDOM)[:, None]
        low_C1, high_C1 = -60 / freedom_C1 - 1, np.log(30 + freedom_C1 + 10 * np.sqrt(2 * freedom_C1))
        # the logarithm of a chi-square variable, starting where its probability is 1e-13
        log_CK = low_C1 + (high_C1 - low_C1) * np.linspace(0, 1, _POINTS)
        self._log_weights_CK = freedom_C1 / 2 * log_CK - np.exp(log_CK) / 2
        of_seeds_CK = seeds_C1 * freedom_C1 / np.exp(log_CK)
        with np.errstate(divide="ignore"):
            self._log_ratio_CK = np.where(seeds_C1 > 0, np.log1p(rows_C1 / of_seeds_CK), 0.0)
        self._error_CK = np.sqrt(rows_C1 + of_seeds_CK)

    def weights(self, exponent: float) -> Floats:
        """Return the weight of each point, with the given exponent of 1 + r/s."""
        log_CK = self._log_weights_CK + exponent * self._log_ratio_CK
        weights_CK = np.exp(log_CK - log_CK.max(axis=1, keepdims=True))
        return np.asarray(weights_CK / weights_CK.sum(axis=1, keepdims=True))

    def p_values(self, size_C: Floats, weights_CK: Floats) -> Floats:
        """Return the two-sided tail of a normal distribution beyond each size, averaged over the points."""
        from scipy.special import ndtr

        return np.asarray((weights_CK * (2 * ndtr(-size_C[:, None] / self._error_CK))).sum(axis=1))
