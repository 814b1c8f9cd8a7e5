"""Which recipes cannot be told apart from the best: all pairs at once, on the same rows. Arrays only, seeded.

The largest of all pairs' statistics under random flips of the rows' signs gives one critical value for all of them
(single-step max-T; Westfall and Young 1993; Hothorn, Bretz and Westfall 2008), so that the chance of excluding any
recipe wrongly stays below the level; tests against the winner alone would not do that. As any test that flips signs it
takes equal recipes to be exchangeable: where their rows' differences are very skewed (200 rows of which a recipe gets
but six wrong, or losses with heavy tails) it errs in 6-9 % of all studies, less with more rows.
Shapes: N rows, R recipes, P flips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sft.report.statistics.paired import ROUNDING, flipped_sums
from sft.report.statistics.sums import Floats

FLIPS = 1_999
# The chance of a wrong exclusion is to stay below 5 %. Simulated (5 and 12 recipes, 200 and 500 rows) the procedure
# holds its level, give or take half a point; a point is left for that.
_LEVEL = 0.04
_MOST_NUMBERS = 4 * 10**9  # pairs times flips: half a minute; above that fewer flips, at least _FEWEST
_FEWEST = 499


def tied_with_best(
    values_NR: NDArray[np.floating],
    higher_is_better: bool,
    runs_R: Sequence[int] = (),
    exchanged: Callable[[int, int], float] | None = None,
) -> NDArray[np.bool_]:
    """Whether no other recipe is significantly better [R], at 5 % over all pairs together.

    The statistic of a pair is the sum of the rows' differences over the root of the sum of their squares, which flips
    leave as it is; pairs that agree on all rows are tied.

    Args:
        values_NR: of each row under each recipe, the mean over seeds: its own value, or what it adds to the metric.
        higher_is_better: the direction of the metric.
        runs_R: how many runs each recipe has. Where two have unequal numbers, signs cannot be flipped as if nothing had
            changed (see `sft.report.statistics.exchange`), and a second test has to agree that they differ.
        exchanged: p of that test of two recipes, by their places; Bonferroni's correction is made here.
    """
    rounded_NR = without_rounding(values_NR)
    centred_NR = rounded_NR - rounded_NR.mean(axis=1, keepdims=True)
    if centred_NR.shape[1] < 2:
        return np.ones(centred_NR.shape[1], dtype=np.bool_)
    inverse_RR = _inverse_errors(centred_NR)
    total_R = centred_NR.sum(axis=0) * (1 if higher_is_better else -1)
    ahead_RR = (total_R[:, None] - total_R) * inverse_RR  # of the first over the second
    better_RR = ahead_RR > _critical(centred_NR.astype(np.float32), inverse_RR.astype(np.float32))
    if exchanged is None or len(set(runs_R)) < 2:
        return ~better_RR.any(axis=0)
    return _confirmed(better_RR, ahead_RR, np.asarray(runs_R), exchanged)


def without_rounding(values_NR: NDArray[np.floating]) -> Floats:
    """The values on a grid that is fine enough for any test, so that equal ones are equal to the last digit."""
    found_NR = np.asarray(values_NR, dtype=np.float64)
    size = float(np.abs(found_NR).mean()) if found_NR.size else 0.0
    if size == 0:
        return found_NR
    unit = 2.0 ** np.floor(np.log2(ROUNDING / 8 * size))
    return np.round(found_NR / unit) * unit


def _confirmed(
    better_RR: NDArray[np.bool_], ahead_RR: Floats, runs_R: NDArray[np.int64], exchanged: Callable[[int, int], float]
) -> NDArray[np.bool_]:
    """The tied ones, where numbers of runs are unequal: of each number the recipe that is most ahead is tested."""
    alike_RR = runs_R[:, None] == runs_R
    tied_R = ~(better_RR & alike_RR).any(axis=0)
    level = _LEVEL / (len(runs_R) * (len(runs_R) - 1) / 2)
    for place in np.flatnonzero(tied_R & better_RR.any(axis=0)).tolist():
        for number in np.unique(runs_R[better_RR[:, place] & ~alike_RR[:, place]]).tolist():
            first = int(np.argmax(np.where(runs_R == number, ahead_RR[:, place], -np.inf)))
            if exchanged(first, place) <= level:
                tied_R[place] = False
                break
    return tied_R


def _inverse_errors(centred_NR: Floats) -> Floats:
    """One over the root of the sum of squared differences; 0 for pairs without any."""
    products_RR = centred_NR.T @ centred_NR
    own_R = np.diag(products_RR)
    squares_RR = own_R[:, None] + own_R - 2 * products_RR
    differ_RR = squares_RR > 1e-12 * (own_R[:, None] + own_R)
    return np.where(differ_RR, 1 / np.sqrt(np.where(differ_RR, squares_RR, 1)), 0.0)


def _critical(centred_NR: NDArray[np.float32], inverse_RR: NDArray[np.float32]) -> float:
    """What the largest statistic of all pairs stays below in 96 % of the flips."""
    recipes = centred_NR.shape[1]
    flips = int(np.clip(_MOST_NUMBERS // (recipes * (recipes - 1) // 2), _FEWEST, FLIPS))
    largest = [_largest(np.ascontiguousarray(sums_PR.T), inverse_RR) for sums_PR in flipped_sums(centred_NR, flips)]
    place = int(np.ceil((flips + 1) * (1 - _LEVEL)))
    return float(np.sort(np.concatenate(largest))[place - 1]) * (1 + 1e-5)


def _largest(sums_RP: NDArray[np.float32], inverse_RR: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of all pairs, in each flip [P]."""
    largest_P = np.zeros(sums_RP.shape[1], dtype=np.float32)
    for one in range(len(sums_RP) - 1):
        apart = np.abs(sums_RP[one + 1 :] - sums_RP[one]) * inverse_RR[one, one + 1 :, None]
        np.maximum(largest_P, apart.max(axis=0), out=largest_P)
    return largest_P
