"""Variance of the difference of two recipes' means, with test rows and seeds both sampled. Arrays only.

The values of runs on rows form a crossed design: rows differ, seeds differ, and a residual differs from run to run
within a row. The variance of a difference of two recipes' means is the sum of

    seeds   the variance of the seeds' differences divided by their number. A seed draws the same shots for every
            recipe, so seeds of both recipes are paired; seeds of only one count for that one (Welch 1947).
    rows    the variance of the rows' differences divided by their number, minus the residual part, which the variance
            over seeds already contains.

A deterministic recipe has no seed part. `sft.report.statistics.few_seeds` turns such a variance into p and an interval.
Shapes: R recipes, Q recipes that they are compared with, S seeds, N rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sft.report.statistics.few_seeds import Variance
from sft.report.statistics.intervals import TWO_SIDED
from sft.report.statistics.sums import Floats

FEWEST_SEEDS = 2  # of a random recipe
# Two variances over seeds are added with Satterthwaite's degrees of freedom (1946). A variance from few seeds that is
# too small by chance would have too little weight, so it counts 1 + 8 / freedom^2 times: 3 times with three seeds.
# With 3 seeds against 10 the level of 5 % is then at most 5.4 %; without this factor it is 7.2 %.
_OF_FEW_SEEDS = 8.0
# The square of an estimated variance is too large on average by (freedom + 2) / freedom (Welch 1947). The full
# correction makes intervals too narrow where one of two variances is much larger; no correction makes them too wide
# where both are equal (96.5 % with three seeds each). With a quarter of it they cover 96 %.
_OF_SQUARES = 0.5
# The variance over seeds contains the residual one. If it is far below that, it is an accident of discrete values.
_LEAST_OF_RESIDUAL = 0.01
_MOST_NUMBERS = 2**22  # of the seeds' differences held in memory at once


@dataclass(frozen=True, eq=False)
class Recipe:
    """Runs of one recipe on the test rows.

    Args:
        seeds: distinct seeds of its runs; empty for a single deterministic run.
        values_S: metric of each run.
        rows_SN: contribution of each row: pseudo-values; their mean does not matter.
    """

    seeds: tuple[int, ...]
    values_S: Floats
    rows_SN: NDArray[np.floating]

    @property
    def is_sampled(self) -> bool:
        """Whether its runs are enough to estimate the variance over seeds."""
        return not self.seeds or len(self.seeds) >= FEWEST_SEEDS


def crossed_variances(recipes: Sequence[Recipe], others: Sequence[Recipe]) -> Variance:
    """Return the variances of the differences of all pairs of means [R, Q]; NaN where one has too few seeds."""
    shape = (len(recipes), len(others))
    variances = Variance(*(np.full(shape, np.nan) for _ in range(3)))
    for mine in _groups(recipes):
        for theirs in _groups(others):
            if mine.is_sampled and theirs.is_sampled:
                for whole_RQ, part_RQ in zip(variances, _Block(mine, theirs).variance(), strict=True):
                    whole_RQ[np.ix_(mine.indices, theirs.indices)] = part_RQ
    return variances


class _Group:
    """Recipes with the same seeds.

    Args:
        indices: their indices among all recipes.
        recipes: the recipes.
    """

    def __init__(self, indices: Sequence[int], recipes: Sequence[Recipe]) -> None:
        self.indices = list(indices)
        self.seeds = recipes[0].seeds
        self.runs = max(1, len(self.seeds))
        self.is_sampled = recipes[0].is_sampled
        self.values_RS = np.stack([one.values_S for one in recipes])
        self._recipes = recipes

    @cached_property
    def centred_SRN(self) -> NDArray[np.float32]:
        """Contribution of each row in each run, minus the mean over rows."""
        rows_SRN = np.stack([one.rows_SN for one in self._recipes], axis=1)
        return np.asarray(rows_SRN - rows_SRN.mean(axis=2, keepdims=True, dtype=np.float64), dtype=np.float32)

    def mean_RN(self, runs: Sequence[int]) -> NDArray[np.float32]:
        """Return the mean of the centred contributions over some runs."""
        if len(runs) == 1:
            return self.centred_SRN[runs[0]]
        return self.centred_SRN[list(runs)].mean(axis=0)

    @property
    def rows(self) -> int:
        """Number of test rows, N."""
        return int(self._recipes[0].rows_SN.shape[1])

    @cached_property
    def over_seeds_R(self) -> Floats:
        """Variance of the runs' values."""
        return np.asarray(self.values_RS.var(axis=1, ddof=1))

    @cached_property
    def residual_R(self) -> Floats:
        """Residual variance within rows and seeds, divided by N: what single runs add to the variance of rows."""
        single_R = sum(map(_variances, self.centred_SRN))
        mean_R = self.runs * _variances(self.mean_RN(range(self.runs)))
        return np.asarray((single_R - mean_R) / (self.runs - 1) / self.rows)


def _groups(recipes: Sequence[Recipe]) -> Iterator[_Group]:
    by_seeds: dict[tuple[int, ...], list[int]] = {}
    for index, one in enumerate(recipes):
        by_seeds.setdefault(one.seeds, []).append(index)
    for indices in by_seeds.values():
        yield _Group(indices, [recipes[index] for index in indices])


class _Part(NamedTuple):
    """A variance over seeds of each difference [R, Q], and its degrees of freedom."""

    variance_RQ: Floats
    freedom: int


class _Block:
    """Differences of all recipes of one group to all of another.

    Args:
        mine, theirs: the groups.
    """

    def __init__(self, mine: _Group, theirs: _Group) -> None:
        self._mine, self._theirs = mine, theirs
        both = [seed for seed in mine.seeds if seed in theirs.seeds]
        both = both if len(both) >= FEWEST_SEEDS else []
        self._pairs = [(mine.seeds.index(seed), theirs.seeds.index(seed)) for seed in both]

    def variance(self) -> Variance:
        """Return the variance over rows, the one over seeds, and the degrees of freedom of the latter."""
        from scipy.special import stdtrit

        mine, theirs = self._mine, self._theirs
        shape = (len(mine.indices), len(theirs.indices))
        seeds_RQ, counted_RQ, squares_RQ = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        least = float("inf")
        for one in self._over_seeds():
            part_RQ = one.variance_RQ * (1 + _OF_FEW_SEEDS / one.freedom**2)
            seeds_RQ += one.variance_RQ
            counted_RQ += part_RQ
            squares_RQ += part_RQ**2 / (one.freedom + _OF_SQUARES)
            least = min(least, one.freedom)
        least = least if np.isfinite(least) else 0.0
        freedom_RQ = np.full(shape, least + _OF_SQUARES)
        np.divide(counted_RQ**2, squares_RQ, out=freedom_RQ, where=squares_RQ > 0)
        freedom_RQ = np.maximum(freedom_RQ - _OF_SQUARES, least)
        rows_RQ = self._of_means(range(mine.runs), range(theirs.runs), (1.0, 1.0)) / mine.rows
        residual_RQ = self._residual()
        rows_only_RQ = np.maximum(rows_RQ - residual_RQ, 0.0)
        few_rows = float(stdtrit(mine.rows - 1, TWO_SIDED) / stdtrit(1e9, TWO_SIDED))
        return Variance(rows_only_RQ * few_rows**2, np.maximum(seeds_RQ, _LEAST_OF_RESIDUAL * residual_RQ), freedom_RQ)

    def _over_seeds(self) -> Iterator[_Part]:
        mine, theirs, pairs = self._mine, self._theirs, self._pairs
        if pairs:
            yield _Part(len(pairs) * self._of_pairs(), len(pairs) - 1)
        if mine.seeds and (single := mine.runs - len(pairs)):
            variance_R1 = mine.over_seeds_R[:, None] * single / mine.runs**2
            yield _Part(np.broadcast_to(variance_R1, (len(mine.indices), len(theirs.indices))), mine.runs - 1)
        if theirs.seeds and (single := theirs.runs - len(pairs)):
            variance_Q = theirs.over_seeds_R * single / theirs.runs**2
            yield _Part(np.broadcast_to(variance_Q, (len(mine.indices), len(theirs.indices))), theirs.runs - 1)

    def _of_pairs(self) -> Floats:
        """Return the variance over the paired seeds of their contributions to the difference."""
        own, other = ([pair[side] for pair in self._pairs] for side in (0, 1))
        mine_RS = self._mine.values_RS[:, own] / self._mine.runs
        theirs_QS = self._theirs.values_RS[:, other] / self._theirs.runs
        at_once = max(1, _MOST_NUMBERS // theirs_QS.size)
        parts = [
            (mine_RS[start : start + at_once, None] - theirs_QS).var(axis=2, ddof=1)
            for start in range(0, len(mine_RS), at_once)
        ]
        return np.concatenate(parts)

    def _residual(self) -> Floats:
        """Return the residual variance [R, Q] from the same seeds as the variance over seeds."""
        mine, theirs, pairs = self._mine, self._theirs, self._pairs
        residual_RQ = np.zeros((len(mine.indices), len(theirs.indices)))
        if pairs:
            scale = (1 / mine.runs, 1 / theirs.runs)
            single_RQ = sum(self._of_means([own], [other], scale) for own, other in pairs)
            own, other = zip(*pairs, strict=True)
            mean_RQ = len(pairs) * self._of_means(own, other, scale)
            residual_RQ = (single_RQ - mean_RQ) * len(pairs) / (len(pairs) - 1) / mine.rows
        if mine.seeds and (single := mine.runs - len(pairs)):
            residual_RQ = residual_RQ + mine.residual_R[:, None] * single / mine.runs**2
        if theirs.seeds and (single := theirs.runs - len(pairs)):
            residual_RQ = residual_RQ + theirs.residual_R * single / theirs.runs**2
        return residual_RQ

    def _of_means(self, own: Sequence[int], other: Sequence[int], scale: tuple[float, float]) -> Floats:
        """Return the variance over rows of the differences of scaled means over some runs [R, Q]."""
        mine_RN, theirs_QN = scale[0] * self._mine.mean_RN(own), scale[1] * self._theirs.mean_RN(other)
        shared_RQ = (mine_RN @ theirs_QN.T).astype(np.float64) / (mine_RN.shape[1] - 1)
        variance_RQ = _variances(mine_RN)[:, None] + _variances(theirs_QN) - 2 * shared_RQ
        return np.maximum(variance_RQ, 0.0)


def _variances(centred_RN: NDArray[np.float32]) -> Floats:
    squares_R = np.einsum("rn,rn->r", centred_RN, centred_RN, dtype=np.float64)
    return np.asarray(squares_R / (centred_RN.shape[1] - 1))
