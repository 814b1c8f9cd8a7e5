"""Intervals over test rows: the BCa bootstrap, which resamples rows with replacement. Arrays only, seeded.

BCa (bias-corrected and accelerated): Efron 1987, "Better Bootstrap Confidence Intervals". The draws are the same for
all runs with equally many rows, so each of thousands of runs needs only a matrix product.
Shapes: N rows, B draws, K sums, M metrics' values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sft.report.statistics.intervals import TWO_SIDED, Bounds
from sft.report.statistics.sums import Floats, Sums

DRAWS = 2_000
SEED = 20_140_611
_MOST_BYTES = 96 * 2**20  # of the counts held in memory at once


class Draws:
    """Counts of how often each of N rows is drawn, in B draws of N rows each.

    Args:
        rows: N.
        draws: B.
    """

    def __init__(self, rows: int, draws: int = DRAWS) -> None:
        self._rows = rows
        self._draws = draws
        self._held = list(self._draw()) if draws * rows * 4 <= _MOST_BYTES else None

    def parts(self) -> Iterator[NDArray[np.float32]]:
        """Yield the counts [part of B, N] in parts that limit memory; the same counts at each call."""
        yield from self._draw() if self._held is None else self._held

    def replicates(self, several: Sequence[Sums]) -> list[dict[str, Floats]]:
        """Return the metrics of each run in every draw [B], by name."""
        replicates: list[dict[str, Floats]] = []
        widest = max(1, _MOST_BYTES // (4 * self._rows))  # columns at once: one product for many runs is fastest
        start = 0
        while start < len(several):
            end, width = start + 1, several[start].width
            while end < len(several) and width + several[end].width <= widest:
                width += several[end].width
                end += 1
            replicates += self._replicates_of(several[start:end])
            start = end
        return replicates

    def _replicates_of(self, several: Sequence[Sums]) -> list[dict[str, Floats]]:
        rows_NK = np.hstack([one.rows_NK for one in several])
        sums_BK = np.concatenate([counts_BN @ rows_NK for counts_BN in self.parts()])
        replicates, start = [], 0
        for one in several:
            own_BK = sums_BK[:, start : start + one.width].astype(np.float64)
            start += one.width
            replicates.append(dict(one.function(own_BK, float(self._rows))))
        return replicates

    def _draw(self) -> Iterator[NDArray[np.float32]]:
        rng = np.random.default_rng(SEED)
        size = max(1, min(self._draws, _MOST_BYTES // (4 * self._rows)))
        for start in range(0, self._draws, size):
            counts = np.empty((min(size, self._draws - start), self._rows), dtype=np.float32)
            for line in counts:
                line[:] = np.bincount(rng.integers(0, self._rows, self._rows), minlength=self._rows)
            yield counts


def bca_bounds(value: float, replicates_B: Floats, influence_N: Floats) -> Bounds | None:
    """Return the BCa interval of a metric.

    Args:
        value: metric over all rows.
        replicates_B: metric in each draw.
        influence_N: contribution of each row, its pseudo-value; their mean does not matter.

    Returns:
        None where the spread is unknown: all rows contribute the same, or all draws are on one side of the value.
    """
    from scipy.special import ndtr, ndtri

    spread_N = influence_N - influence_N.mean()
    squares = float(spread_N @ spread_N)
    sorted_B = np.sort(replicates_B)
    near = 1e-6 * max(abs(value), 1e-6)  # draws that equal the value up to rounding count half
    below = np.searchsorted(sorted_B, value - near) + np.searchsorted(sorted_B, value + near, side="right")
    share = float(below) / (2 * len(sorted_B))
    if squares <= 1e-20 * len(spread_N) or not 0 < share < 1:
        return None
    bias = float(ndtri(share))
    acceleration = float((spread_N**3).sum()) / (6 * squares**1.5)
    shifted = bias + float(ndtri(TWO_SIDED)) * np.array([-1.0, 1.0])
    levels = ndtr(bias + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(sorted_B, levels)
    return Bounds(float(low), float(high)) if np.isfinite([low, high]).all() else None
