"""Two recipes with unequal numbers of runs on the same test rows: tests that exchange runs. Arrays only.

Why not a simpler test: with unequal numbers of runs the rows' differences are skewed. One run that is wrong on few rows
differs from the mean of ten in large steps one way and in small ones the other. Sign flips take the differences for
symmetric, and find one in about 20 % of all studies where there is none (100 rows, five recipes of 1 run against one of
10, all right in 95 % of all cases). A paired t test (Miller 2024, arXiv 2411.00640) has the same flaw: 19 % there, 20 %
for the Brier score. Corrected for skewness (Hall 1992, "On the Removal of Skewness by Transformation") it finds 4 %,
but 12 % for the Brier score and 10 % for macro F1 with a rare label, and has less power there (36 % where this has
53 %). What can be exchanged are the runs within each row. That in turn takes all runs for alike: where the runs of a
recipe agree with each other more than with those of the other, the exchange finds differences in up to half of all
studies, while sign flips hold their level. Hence both tests are made and the larger p counts: in all these settings it
stays near the level or below (0.2, 0.0 and 1.6 % in the three above; tests/report/statistics/studies.py).
Shapes: N rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sft.report.statistics.paired import MOST_NUMBERS, ROUNDING
from sft.report.statistics.sums import Floats

_SMALLEST = 1e-12  # what the characteristic function can tell from 0


class Runs(NamedTuple):
    """A recipe's runs on each row: how many there are, and the sums of their values' first three powers [N]."""

    number: int
    sums_N: Floats
    squares_N: Floats
    cubes_N: Floats


def of_hits(number: int, hits_N: NDArray[np.integer]) -> Runs:
    """Runs with values of 0 and 1.

    Args:
        number: of the runs.
        hits_N: in how many of them each row counts.
    """
    sums_N = hits_N.astype(np.float64)
    return Runs(number, sums_N, sums_N, sums_N)


def exchanged_hits(first: Runs, second: Runs) -> float | None:
    """p of the difference of two shares, exact: each row's hits fall to the runs of both by chance.

    How many fall to the first is hypergeometric; the distribution of their sum over rows comes from the product of the
    characteristic functions. As extreme is what is as far from the expectation, on either side. Not below 1e-12.

    Args:
        first, second: as `of_hits` gives them, with different numbers of runs.

    Returns:
        None where that would take many seconds.
    """
    few, many = sorted((first, second), key=lambda one: one.number)
    of_row_N = np.rint(few.sums_N + many.sums_N).astype(np.int64)
    both = few.number + many.number
    hits, rows = np.unique(of_row_N[(of_row_N > 0) & (of_row_N < both)], return_counts=True)
    certain = few.number * int((of_row_N == both).sum())
    length = 1 << int(few.number * rows.sum() + 1).bit_length()
    if length * len(hits) > MOST_NUMBERS // 4:
        return None
    product = np.ones(length // 2 + 1, dtype=np.complex128)
    for hit, count in zip(hits.tolist(), rows.tolist(), strict=True):
        product *= np.fft.rfft(_hypergeometric(few.number, many.number, hit), length) ** count
    chances = np.fft.irfft(product, length)
    expected = few.number / both * int(hits @ rows)
    apart = np.abs(np.arange(length) - expected)
    observed = abs(float(few.sums_N.sum()) - certain - expected)
    return float(np.clip(chances[apart >= observed - 1e-6].sum(), _SMALLEST, 1.0))


def exchanged(first: Runs, second: Runs) -> float:
    """p of the difference of two means, by the first three moments of all exchanges of runs within rows.

    Their distribution is taken for a Pearson III one (Mielke and Berry 2007), which is exact in its mean, variance and
    skewness; two-sided.
    """
    few, many = sorted((first, second), key=lambda one: one.number)
    a, b = few.number, many.number
    both = a + b
    mean_N = (few.sums_N + many.sums_N) / both
    squares_N = few.squares_N + many.squares_N - both * mean_N**2
    cubes_N = few.cubes_N + many.cubes_N - 3 * mean_N * (few.squares_N + many.squares_N) + 2 * both * mean_N**3
    differ_N = squares_N > both * (ROUNDING * np.abs(mean_N).mean()) ** 2
    variance = a * b / (both * (both - 1)) * float(squares_N[differ_N].sum())
    if variance <= 0:
        return 1.0
    third = a * b * (b - a) / (both * (both - 1) * (both - 2)) * float(cubes_N[differ_N].sum())
    observed = abs(float((few.sums_N - a * mean_N)[differ_N].sum())) / variance**0.5
    skewness = third / variance**1.5
    return float(np.clip(_above(observed, skewness) + _above(observed, -skewness), _SMALLEST, 1.0))


def _hypergeometric(few: int, many: int, hits: int) -> Floats:
    """The chances of 0, 1, ..., few of so many hits to fall to the few."""
    from scipy.special import gammaln

    def choices(of: int, number: NDArray[np.int64]) -> Floats:
        return np.asarray(gammaln(of + 1) - gammaln(number + 1) - gammaln(of - number + 1), dtype=np.float64)

    theirs = np.arange(max(0, hits - many), min(few, hits) + 1)
    found = np.zeros(few + 1)
    found[theirs] = np.exp(choices(few, theirs) + choices(many, hits - theirs))
    return found / found.sum()


def _above(deviates: float, skewness: float) -> float:
    """How often a Pearson III variable with that skewness is so many standard deviations above its mean."""
    from scipy.special import gammainc, gammaincc, ndtr

    if abs(skewness) < 1e-4:
        return float(ndtr(-deviates))
    shape = 4 / skewness**2
    place = max(0.0, shape + np.sign(skewness) * deviates * shape**0.5)
    return float(gammaincc(shape, place) if skewness > 0 else gammainc(shape, place))
