"""Which recipes cannot be told apart from the best: all pairs at once, on the same rows. Arrays only, seeded.

The largest of all pairs' statistics under random flips of the rows' signs gives one critical value for all of them
(single-step max-T; Westfall and Young 1993; Hothorn, Bretz and Westfall 2008), so that the chance of excluding any
recipe wrongly stays below the level; tests against the winner alone would not do that. As any test that flips signs it
takes equal recipes to be exchangeable: where their rows' differences are very skewed (200 rows of which a recipe gets
but six wrong, or losses with heavy tails) it errs in 6-9 % of all studies, less with more rows.
Shapes: N rows, R recipes, P flips.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sft.report.statistics.paired import flipped_sums
from sft.report.statistics.sums import Floats

FLIPS = 1_999
# The chance of a wrong exclusion is to stay below 5 %. Simulated (5 and 12 recipes, 200 and 500 rows) the procedure
# holds its level, give or take half a point; a point is left for that.
_LEVEL = 0.04
_MOST_NUMBERS = 4 * 10**9  # pairs times flips: half a minute; above that fewer flips, at least _FEWEST
_FEWEST = 499


def tied_with_best(values_NR: NDArray[np.floating], higher_is_better: bool) -> NDArray[np.bool_]:
    """Whether no other recipe is significantly better [R], at 5 % over all pairs together.

    The statistic of a pair is the sum of the rows' differences over the root of the sum of their squares, which flips
    leave as it is; pairs that agree on all rows are tied.

    Args:
        values_NR: of each row under each recipe, the mean over seeds: its own value, or its pseudo-value.
        higher_is_better: the direction of the metric.
    """
    centred_NR = np.asarray(values_NR - values_NR.mean(axis=1, keepdims=True), dtype=np.float64)
    if centred_NR.shape[1] < 2:
        return np.ones(centred_NR.shape[1], dtype=np.bool_)
    inverse_RR = _inverse_errors(centred_NR)
    total_R = centred_NR.sum(axis=0) * (1 if higher_is_better else -1)
    ahead_RR = (total_R[:, None] - total_R) * inverse_RR  # of the first over the second
    return ahead_RR.max(axis=0) <= _critical(centred_NR.astype(np.float32), inverse_RR.astype(np.float32))


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
