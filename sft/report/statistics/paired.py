"""Two recipes on the same test rows: exact and permutation tests, their correction, and the size of the effect.

All are two-sided tests of "it does not matter which of the two recipes answered which row", by flipping the signs of
the rows' differences. Arrays only, seeded.
Shapes: N rows, R recipes, P flips, C comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sft.report.statistics.sums import Floats

SEED = 19_350_101
_MOST_BYTES = 32 * 2**20  # of the signs that are held at once
_SMALLEST = 1e-12  # what the characteristic function can tell from 0
MOST_NUMBERS = 2**26  # that an exact distribution is made of: some seconds
ROUNDING = 1e-6  # of values of size 1


def mcnemar(first_N: NDArray[np.bool_], second_N: NDArray[np.bool_]) -> float:
    """p of the exact test of McNemar 1947: of the rows that only one of both got right, how many are whose.

    Args:
        first_N: what one got right.
        second_N: what the other did.
    """
    from scipy.special import bdtr

    first, second = int((first_N & ~second_N).sum()), int((second_N & ~first_N).sum())
    return min(1.0, 2 * float(bdtr(min(first, second), first + second, 0.5))) if first + second else 1.0


def sign_flips(differences_N: NDArray[np.integer]) -> float:
    """p of the sum of whole numbers, exact: the share of all 2^N choices of their signs that give as large a sum.

    The distribution of the sum comes from its characteristic function, the product of cos(d t) over the rows, by one
    Fourier transform. For differences of -1, 0 and 1 it is McNemar's test. Not below 1e-12, where rounding begins.
    """
    sizes, counts, observed = _counted(differences_N)
    if not observed:
        return 1.0
    length = _length(sizes, counts)
    angles = 2 * np.pi * np.arange(length // 2 + 1) / length
    product = np.ones_like(angles)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        product *= np.cos(size * angles) ** count
    chances = np.fft.irfft(product, length)  # of 0, 1, ..., and at the end of ..., -2, -1
    return float(np.clip(2 * chances[observed : length // 2].sum(), _SMALLEST, 1.0))


def is_long(differences_N: NDArray[np.integer]) -> bool:
    """Whether `sign_flips` would take many seconds: many rows, and means over many seeds in many sizes."""
    sizes, counts, _ = _counted(differences_N)
    return _length(sizes, counts) * len(sizes) > MOST_NUMBERS


def random_sign_flips(differences_N: NDArray[np.integer], flips: int) -> float:
    """The same p by random flips: (1 + as large ones) / (1 + P). Of equal differences only their number counts."""
    sizes, counts, observed = _counted(differences_N)
    rng = np.random.default_rng(SEED)
    sums_P = np.zeros(flips, dtype=np.int64)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        sums_P += size * (2 * rng.binomial(count, 0.5, flips) - count)
    return (1 + int((np.abs(sums_P) >= observed).sum())) / (1 + flips)


def _counted(differences_N: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """The sizes of the differences in the largest common unit, how many have each, and the size of their sum."""
    sizes, counts = np.unique(np.abs(differences_N[differences_N != 0]).astype(np.int64), return_counts=True)
    if not len(sizes):
        return sizes, counts, 0
    divisor = int(np.gcd.reduce(sizes))
    return sizes // divisor, counts, abs(int(differences_N.sum())) // divisor


def _length(sizes: NDArray[np.int64], counts: NDArray[np.int64]) -> int:
    return 1 << int(2 * (sizes @ counts) + 1).bit_length()


def flipped_sums(values_NR: NDArray[np.float32], flips: int) -> Iterator[NDArray[np.float32]]:
    """Sums over rows with random signs of the rows, the same for all recipes: parts [part of P, R]."""
    rng = np.random.default_rng(SEED)
    rows, total_R = len(values_NR), values_NR.sum(axis=0, dtype=np.float64).astype(np.float32)
    size = max(1, min(flips, _MOST_BYTES // (4 * rows)))
    for start in range(0, flips, size):
        count = min(size, flips - start)
        bits = np.unpackbits(np.frombuffer(rng.bytes(count * ((rows + 7) // 8)), dtype=np.uint8).reshape(count, -1), 1)
        # signs are 2 bits - 1; one pass over the P N bits less than making them
        yield 2 * (bits[:, :rows].astype(np.float32) @ values_NR) - total_R


def differences(first_N: NDArray[np.floating], second_N: NDArray[np.floating]) -> Floats:
    """First minus second, exactly 0 where they differ by rounding only: by less than a millionth of their size.

    Equal answers of one run and of several differ in the last digits of their means, and to a test any difference is a
    difference.
    """
    found_N = first_N.astype(np.float64) - second_N
    size = float(np.abs(first_N).mean() + np.abs(second_N).mean()) / 2 if len(found_N) else 0.0
    found_N[np.abs(found_N) <= ROUNDING * size] = 0
    return found_N


def permutation(values_NR: NDArray[np.floating], pairs_C2: Sequence[tuple[int, int]], flips: int) -> Floats:
    """p [C] of the differences of recipes' means, by random flips: (1 + as large ones) / (1 + P).

    Args:
        values_NR: of each row under each recipe, the mean over seeds: its own for metrics that are means; else what it
            adds to the linear part of the metric (`Sums.along`). With jackknife pseudo-values, which differ where the
            answers are alike, equal macro F1 with rare labels was found to differ in 7-10 % of all studies.
        pairs_C2: which recipes are compared.
        flips: P.
    """
    if not len(pairs_C2):
        return np.ones(0)
    differences_NC = np.stack([differences(values_NR[:, one], values_NR[:, other]) for one, other in pairs_C2], axis=1)
    size_C = np.sqrt((differences_NC**2).sum(axis=0))
    scaled_NC = (differences_NC / np.where(size_C > 0, size_C, 1)).astype(np.float32)
    least_C = np.abs(scaled_NC.sum(axis=0, dtype=np.float64)) - 1e-5  # single precision, of sums of about 1
    as_large_C = np.zeros(len(pairs_C2), dtype=np.int64)
    for sums_PC in flipped_sums(scaled_NC, flips):
        as_large_C += (np.abs(sums_PC) >= least_C).sum(axis=0)
    return np.asarray((1.0 + as_large_C) / (1.0 + flips), dtype=np.float64)


def effect_size(differences_N: Floats) -> float | None:
    """Cohen's d of paired rows: the mean of their differences over its standard deviation; None where that is 0.

    Args:
        differences_N: as `differences` gives them.
    """
    spread = float(np.std(differences_N, ddof=1)) if len(differences_N) > 1 else 0.0
    none = 1e-9 * float(np.abs(differences_N).max(initial=0.0))  # what rounding makes of equal differences
    return float(np.mean(differences_N)) / spread if spread > none else None


def holm(p_values: Sequence[float] | Floats, weights: Sequence[float] | Floats | None = None) -> Floats:
    """Corrected so that the chance of any false finding among all stays below the level (Holm 1979).

    Args:
        p_values: of the tests, C.
        weights: each test's share of the level, whatever their sum; None: all the same. What a test had that found
            something passes on to the others.

    Returns:
        The corrected p [C].
    """
    p_C = np.asarray(p_values, dtype=np.float64)
    weights_C = np.ones(len(p_C)) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.argsort(p_C / weights_C, kind="stable")
    left_C = np.cumsum(weights_C[order][::-1])[::-1]  # of all that are not yet found
    stepped_C = np.minimum(np.maximum.accumulate(p_C[order] * left_C / weights_C[order]), 1.0)
    corrected_C = np.empty_like(stepped_C)
    corrected_C[order] = stepped_C
    return corrected_C
