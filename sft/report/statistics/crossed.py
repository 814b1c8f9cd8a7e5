"""Is one recipe better than another? Differences of means with test rows and seeds both sampled. Arrays only.

A run's value on a row is a draw from a crossed design: rows differ, seeds differ, and what is left differs from run to
run within a row. The variance of a difference of two recipes' means is the sum of

    seeds   the variance of the seeds' differences over their number. A seed draws the same shots for every recipe, so
            seeds that both recipes have are paired; those that only one of them has count for that one (Welch 1947).
    rows    the variance of the rows' differences over their number, less the part of it that single runs add: that
            part is in the variance over seeds already.

A recipe in which nothing is random has no seed part. What such a variance says of a difference, with few seeds, is in
`sft.report.statistics.few_seeds`.
Shapes: R recipes, Q others that they are compared with, S seeds, N rows.
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

FEWEST_SEEDS = 2  # of a recipe with something random in it
# Two variances over seeds are added, with Satterthwaite's degrees of freedom (1946). A variance from few seeds that is
# too small by chance would weigh too little in these: it counts 1 + 8 / freedom^2 times, 3 times with three seeds. With
# 3 seeds against 10 the level of 5 % is at most 5.4 % so, and 7.2 % without it.
_OF_FEW_SEEDS = 8.0
# An estimated variance that is squared is too large on average by (freedom + 2) / freedom (Welch 1947). The whole
# correction makes intervals too narrow where one of two variances is much larger, none too wide where both are equal
# (96.5 % with three seeds each); with a quarter of it they cover 96 %.
_OF_SQUARES = 0.5
# The variance over seeds holds that of single runs. Far below it, it is an accident of figures that take few values.
_LEAST_OF_LEFT = 0.01
_MOST_NUMBERS = 2**22  # of the seeds' differences that are held at once


@dataclass(frozen=True, eq=False)
class Recipe:
    """The runs of one recipe on the test rows.

    Args:
        seeds: of its runs, each once; empty for one run with nothing random in it.
        values_S: the metric of each run.
        rows_SN: what each row contributes to it: pseudo-values, whatever their mean.
    """

    seeds: tuple[int, ...]
    values_S: Floats
    rows_SN: NDArray[np.floating]

    @property
    def is_sampled(self) -> bool:
        """Whether its runs tell how far other seeds would move it."""
        return not self.seeds or len(self.seeds) >= FEWEST_SEEDS


def crossed_variances(recipes: Sequence[Recipe], others: Sequence[Recipe]) -> Variance:
    """Of the differences of all recipes' means to all others' [R, Q]; nan where one of both has too few seeds."""
    shape = (len(recipes), len(others))
    found = Variance(*(np.full(shape, np.nan) for _ in range(3)))
    for mine in _groups(recipes):
        for theirs in _groups(others):
            if mine.is_sampled and theirs.is_sampled:
                for whole_RQ, part_RQ in zip(found, _Block(mine, theirs).variance(), strict=True):
                    whole_RQ[np.ix_(mine.places, theirs.places)] = part_RQ
    return found


class _Group:
    """Recipes with the same seeds, together.

    Args:
        places: where they are among all.
        recipes: these.
    """

    def __init__(self, places: Sequence[int], recipes: Sequence[Recipe]) -> None:
        self.places = list(places)
        self.seeds = recipes[0].seeds
        self.runs = max(1, len(self.seeds))
        self.is_sampled = recipes[0].is_sampled
        self.values_RS = np.stack([one.values_S for one in recipes])
        self._recipes = recipes

    @cached_property
    def centred_SRN(self) -> NDArray[np.float32]:
        """The rows' contributions in each run, less their mean."""
        rows_SRN = np.stack([one.rows_SN for one in self._recipes], axis=1)
        return np.asarray(rows_SRN - rows_SRN.mean(axis=2, keepdims=True, dtype=np.float64), dtype=np.float32)

    def mean_RN(self, runs: Sequence[int]) -> NDArray[np.float32]:
        """The means of these over some runs."""
        if len(runs) == 1:
            return self.centred_SRN[runs[0]]
        return self.centred_SRN[list(runs)].mean(axis=0)

    @property
    def rows(self) -> int:
        """N."""
        return int(self._recipes[0].rows_SN.shape[1])

    @cached_property
    def over_seeds_R(self) -> Floats:
        """The variance of the runs' values."""
        return np.asarray(self.values_RS.var(axis=1, ddof=1))

    @cached_property
    def left_R(self) -> Floats:
        """The variance within rows and seeds, over N: what single runs add to the variance of rows."""
        single_R = sum(map(_variances, self.centred_SRN))
        mean_R = self.runs * _variances(self.mean_RN(range(self.runs)))
        return np.asarray((single_R - mean_R) / (self.runs - 1) / self.rows)


def _groups(recipes: Sequence[Recipe]) -> Iterator[_Group]:
    by_seeds: dict[tuple[int, ...], list[int]] = {}
    for place, one in enumerate(recipes):
        by_seeds.setdefault(one.seeds, []).append(place)
    for places in by_seeds.values():
        yield _Group(places, [recipes[place] for place in places])


class _Part(NamedTuple):
    """A variance over seeds of each difference [R, Q], and its degrees of freedom."""

    variance_RQ: Floats
    freedom: int


class _Block:
    """The differences of all recipes of one group to all of another.

    Args:
        mine, theirs: the groups.
    """

    def __init__(self, mine: _Group, theirs: _Group) -> None:
        self._mine, self._theirs = mine, theirs
        both = [seed for seed in mine.seeds if seed in theirs.seeds]
        both = both if len(both) >= FEWEST_SEEDS else []
        self._pairs = [(mine.seeds.index(seed), theirs.seeds.index(seed)) for seed in both]

    def variance(self) -> Variance:
        """That of rows, that of seeds, and the degrees of freedom of the latter."""
        from scipy.special import stdtrit

        mine, theirs = self._mine, self._theirs
        shape = (len(mine.places), len(theirs.places))
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
        left_RQ = self._left()
        beside_RQ = np.maximum(rows_RQ - left_RQ, 0.0)
        few_rows = float(stdtrit(mine.rows - 1, TWO_SIDED) / stdtrit(1e9, TWO_SIDED))
        return Variance(beside_RQ * few_rows**2, np.maximum(seeds_RQ, _LEAST_OF_LEFT * left_RQ), freedom_RQ)

    def _over_seeds(self) -> Iterator[_Part]:
        mine, theirs, pairs = self._mine, self._theirs, self._pairs
        if pairs:
            yield _Part(len(pairs) * self._of_pairs(), len(pairs) - 1)
        if mine.seeds and (single := mine.runs - len(pairs)):
            variance_R1 = mine.over_seeds_R[:, None] * single / mine.runs**2
            yield _Part(np.broadcast_to(variance_R1, (len(mine.places), len(theirs.places))), mine.runs - 1)
        if theirs.seeds and (single := theirs.runs - len(pairs)):
            variance_Q = theirs.over_seeds_R * single / theirs.runs**2
            yield _Part(np.broadcast_to(variance_Q, (len(mine.places), len(theirs.places))), theirs.runs - 1)

    def _of_pairs(self) -> Floats:
        """The variance over the seeds of both of what each adds to the difference."""
        own, other = ([pair[side] for pair in self._pairs] for side in (0, 1))
        mine_RS = self._mine.values_RS[:, own] / self._mine.runs
        theirs_QS = self._theirs.values_RS[:, other] / self._theirs.runs
        at_once = max(1, _MOST_NUMBERS // theirs_QS.size)
        parts = [
            (mine_RS[start : start + at_once, None] - theirs_QS).var(axis=2, ddof=1)
            for start in range(0, len(mine_RS), at_once)
        ]
        return np.concatenate(parts)

    def _left(self) -> Floats:
        """What single runs add to the variance of rows [R, Q], by the same seeds as the variance over seeds."""
        mine, theirs, pairs = self._mine, self._theirs, self._pairs
        found = np.zeros((len(mine.places), len(theirs.places)))
        if pairs:
            scale = (1 / mine.runs, 1 / theirs.runs)
            single_RQ = sum(self._of_means([own], [other], scale) for own, other in pairs)
            own, other = zip(*pairs, strict=True)
            mean_RQ = len(pairs) * self._of_means(own, other, scale)
            found = (single_RQ - mean_RQ) * len(pairs) / (len(pairs) - 1) / mine.rows
        if mine.seeds and (single := mine.runs - len(pairs)):
            found = found + mine.left_R[:, None] * single / mine.runs**2
        if theirs.seeds and (single := theirs.runs - len(pairs)):
            found = found + theirs.left_R * single / theirs.runs**2
        return found

    def _of_means(self, own: Sequence[int], other: Sequence[int], scale: tuple[float, float]) -> Floats:
        """The variance over rows of the differences of means over some runs, each times its scale [R, Q]."""
        mine_RN, theirs_QN = scale[0] * self._mine.mean_RN(own), scale[1] * self._theirs.mean_RN(other)
        shared_RQ = (mine_RN @ theirs_QN.T).astype(np.float64) / (mine_RN.shape[1] - 1)
        found_RQ = _variances(mine_RN)[:, None] + _variances(theirs_QN) - 2 * shared_RQ
        return np.maximum(found_RQ, 0.0)


def _variances(centred_RN: NDArray[np.float32]) -> Floats:
    squares_R = np.einsum("rn,rn->r", centred_RN, centred_RN, dtype=np.float64)
    return np.asarray(squares_R / (centred_RN.shape[1] - 1))
