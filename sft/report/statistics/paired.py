"""Paired tests of two recipes on the same test rows: exact and permutation tests, Holm's correction, effect size.

The null hypothesis of all tests: it does not matter which of the two recipes answered which row. The tests are
two-sided and flip the differences of the rows between plus and minus. Arrays only, seeded.
Shapes: N rows, R recipes, P flips, C comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sft.report.statistics.sums import Floats

SEED = 19_350_101
_MOST_BYTES = 32 * 2**20  # of the flips held in memory at once
_SMALLEST = 1e-12  # smallest probability above the rounding error of the characteristic function
MOST_NUMBERS = 2**26  # in an exact distribution: takes some seconds
ROUNDING = 1e-6  # relative


def mcnemar(first_N: NDArray[np.bool_], second_N: NDArray[np.bool_]) -> float:
    """Return p of McNemar's exact test (1947), which counts the rows that only one of the two answers correctly.

    Args:
        first_N: whether the first answers each row correctly.
        second_N: whether the second does.
    """
    from scipy.special import bdtr

    first, second = int((first_N & ~second_N).sum()), int((second_N & ~first_N).sum())
    return min(1.0, 2 * float(bdtr(min(first, second), first + second, 0.5))) if first + second else 1.0


def exact_flips(differences_N: NDArray[np.integer]) -> float:
    """Return the exact p of a sum of integers: the share of all 2^N ways to flip them that give as large a sum.

    The distribution of the sum is the Fourier transform of its characteristic function, the product of cos(d t) over
    the rows. For differences of -1, 0 and 1 it is McNemar's test. At least 1e-12, the size of rounding errors.
    """
    sizes, counts, observed = _counted(differences_N)
    if not observed:
        return 1.0
    length = _length(sizes, counts)
    angles = 2 * np.pi * np.arange(length // 2 + 1) / length
    product = np.ones_like(angles)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        product *= np.cos(size * angles) ** count
    chances = np.fft.irfft(product, length)  # of the sums 0, 1, ..., -2, -1 in this order
    return float(np.clip(2 * chances[observed : length // 2].sum(), _SMALLEST, 1.0))


def is_long(differences_N: NDArray[np.integer]) -> bool:
    """Whether `exact_flips` would take many seconds: for many rows with many distinct sizes of differences."""
    sizes, counts, _ = _counted(differences_N)
    return _length(sizes, counts) * len(sizes) > MOST_NUMBERS


def random_flips(differences_N: NDArray[np.integer], flips: int) -> float:
    """Return the same p by random flips: (1 + number of sums at least as large) / (1 + P)."""
    sizes, counts, observed = _counted(differences_N)
    rng = np.random.default_rng(SEED)
    sums_P = np.zeros(flips, dtype=np.int64)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        sums_P += size * (2 * rng.binomial(count, 0.5, flips) - count)
    return (1 + int((np.abs(sums_P) >= observed).sum())) / (1 + flips)


def _counted(differences_N: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return the distinct sizes of the differences in their largest common unit, their counts, and the sum's size."""
    sizes, counts = np.unique(np.abs(differences_N[differences_N != 0]).astype(np.int64), return_counts=True)
    if not len(sizes):
        return sizes, counts, 0
    divisor = int(np.gcd.reduce(sizes))
    return sizes // divisor, counts, abs(int(differences_N.sum())) // divisor


def _length(sizes: NDArray[np.int64], counts: NDArray[np.int64]) -> int:
    return 1 << int(2 * (sizes @ counts) + 1).bit_length()


def flipped_sums(values_NR: NDArray[np.float32], flips: int) -> Iterator[NDArray[np.float32]]:
    """Yield sums over randomly flipped rows, with the same flips for all recipes: parts [part of P, R]."""
    rng = np.random.default_rng(SEED)
    rows, total_R = len(values_NR), values_NR.sum(axis=0, dtype=np.float64).astype(np.float32)
    size = max(1, min(flips, _MOST_BYTES // (4 * rows)))
    for start in range(0, flips, size):
        count = min(size, flips - start)
        bits = np.unpackbits(np.frombuffer(rng.bytes(count * ((rows + 7) // 8)), dtype=np.uint8).reshape(count, -1), 1)
        # flips are 2 bits - 1; this saves one pass over the P N bits
        yield 2 * (bits[:, :rows].astype(np.float32) @ values_NR) - total_R


def differences(first_N: NDArray[np.floating], second_N: NDArray[np.floating]) -> Floats:
    """Return first minus second, with 0 for differences by rounding only: less than a millionth of their size.

    The means of one run and of several runs with equal answers differ in their last digits, and a test would count any
    difference.
    """
    differences_N = first_N.astype(np.float64) - second_N
    size = float(np.abs(first_N).mean() + np.abs(second_N).mean()) / 2 if len(differences_N) else 0.0
    differences_N[np.abs(differences_N) <= ROUNDING * size] = 0
    return differences_N


def permutation(values_NR: NDArray[np.floating], pairs_C2: Sequence[tuple[int, int]], flips: int) -> Floats:
    """Return p [C] of the differences of means by random flips: (1 + number of sums at least as large) / (1 + P).

    Args:
        values_NR: value of each row for each recipe, mean over seeds: the row's own value for metrics that are means,
            else its contribution to the linear part of the metric (`Sums.along`). Not jackknife pseudo-values: they
            differ where the answers are equal, and found equal macro F1 with rare labels to differ in 7-10 % of all
            studies.
        pairs_C2: recipes that are compared.
        flips: P.
    """
    if not len(pairs_C2):
        return np.ones(0)
    differences_NC = np.stack([differences(values_NR[:, one], values_NR[:, other]) for one, other in pairs_C2], axis=1)
    size_C = np.sqrt((differences_NC**2).sum(axis=0))
    scaled_NC = (differences_NC / np.where(size_C > 0, size_C, 1)).astype(np.float32)
    least_C = np.abs(scaled_NC.sum(axis=0, dtype=np.float64)) - 1e-5  # rounding of single precision, for sums near 1
    as_large_C = np.zeros(len(pairs_C2), dtype=np.int64)
    for sums_PC in flipped_sums(scaled_NC, flips):
        as_large_C += (np.abs(sums_PC) >= least_C).sum(axis=0)
    return np.asarray((1.0 + as_large_C) / (1.0 + flips), dtype=np.float64)


def effect_size(differences_N: Floats) -> float | None:
    """Return Cohen's d of paired rows: mean of the differences over their standard deviation; None where that is 0.

    Args:
        differences_N: result of `differences`.
    """
    spread = float(np.std(differences_N, ddof=1)) if len(differences_N) > 1 else 0.0
    none = 1e-9 * float(np.abs(differences_N).max(initial=0.0))  # spread of equal differences by rounding
    return float(np.mean(differences_N)) / spread if spread > none else None


def holm(p_values: Sequence[float] | Floats, weights: Sequence[float] | Floats | None = None) -> Floats:
    """Correct p-values so that the probability of any false positive stays below the level (Holm 1979).

    Args:
        p_values: p of each test [C].
        weights: share of the level of each test, not necessarily normalized; None: equal shares. The share of a
            significant test passes on to the others.

    Returns:
        Corrected p [C].
    """
    p_C = np.asarray(p_values, dtype=np.float64)
    weights_C = np.ones(len(p_C)) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.argsort(p_C / weights_C, kind="stable")
    left_C = np.cumsum(weights_C[order][::-1])[::-1]  # weights of all tests that are not yet significant
    stepped_C = np.minimum(np.maximum.accumulate(p_C[order] * left_C / weights_C[order]), 1.0)
    corrected_C = np.empty_like(stepped_C)
    corrected_C[order] = stepped_C
    return corrected_C
