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
    sizes, counts = np.unique(np.abs(differences_N[differences_N != 0]).astype(np.int64), return_counts=True)
    if not len(sizes):
        return 1.0
    divisor = int(np.gcd.reduce(sizes))
    sizes, observed = sizes // divisor, abs(int(differences_N.sum())) // divisor
    length = 1 << int(2 * (sizes @ counts) + 1).bit_length()
    angles = 2 * np.pi * np.arange(length // 2 + 1) / length
    product = np.ones_like(angles)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        product *= np.cos(size * angles) ** count
    chances = np.fft.irfft(product, length)  # of 0, 1, ..., and at the end of ..., -2, -1
    if observed == 0:
        return 1.0
    return float(np.clip(2 * chances[observed : length // 2].sum(), _SMALLEST, 1.0))


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


def permutation(values_NR: NDArray[np.floating], pairs_C2: Sequence[tuple[int, int]], flips: int) -> Floats:
    """p [C] of the differences of recipes' means, by random flips: (1 + as large ones) / (1 + P).

    A row's value is its own for metrics that are means; its pseudo-value else. Simulated with macro F1, that test and
    the one that swaps the rows' answers and takes the metric anew reject equally often (4-5 % under no difference, from
    50 rows on) and give p-values that differ by .01 on average with 500 rows.

    Args:
        values_NR: of each row under each recipe, the mean over seeds.
        pairs_C2: which recipes are compared.
        flips: P.
    """
    first, second = (np.array([pair[side] for pair in pairs_C2], dtype=np.intp) for side in (0, 1))
    # what all recipes share falls out of the differences; without it single precision suffices
    centred_NR = (values_NR - values_NR.mean(axis=1, keepdims=True)).astype(np.float32)
    total_R = centred_NR.sum(axis=0, dtype=np.float64)
    observed_C = np.abs(total_R[first] - total_R[second])
    least_C = observed_C - 1e-5 * np.maximum(
        observed_C, np.sqrt((centred_NR.astype(np.float64) ** 2).sum(axis=0).max())
    )
    as_large_C = np.zeros(len(pairs_C2), dtype=np.int64)
    for sums_PR in flipped_sums(centred_NR, flips):
        as_large_C += (np.abs(sums_PR[:, first] - sums_PR[:, second]) >= least_C).sum(axis=0)
    return np.asarray((1.0 + as_large_C) / (1.0 + flips), dtype=np.float64)


def effect_size(differences_N: Floats) -> float | None:
    """Cohen's d of paired rows: the mean of their differences over its standard deviation; None where that is 0."""
    spread = float(np.std(differences_N, ddof=1)) if len(differences_N) > 1 else 0.0
    return float(np.mean(differences_N)) / spread if spread > 1e-12 else None


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected so that the chance of any false finding among all stays below the level (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.minimum(np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * factors), 1.0)
    corrected = np.empty_like(stepped)
    corrected[order] = stepped
    return corrected.tolist()
