"""A row of the table against its baseline on the same test rows: which test for which metric, and its p-value.

With equal numbers of runs the signs of the rows' differences are flipped, exactly for shares of rows. With unequal ones
that is not valid by itself: see `sft.report.statistics.exchange`.
Shapes: N test rows, R rows of the table.
"""

from __future__ import annotations

from math import lcm
from typing import NamedTuple

import numpy as np

from sft.report.comparison import Comparison
from sft.report.judged.pairing import Paired
from sft.report.statistics.exchange import exchanged, exchanged_hits
from sft.report.statistics.paired import (
    differences,
    effect_size,
    is_long,
    mcnemar,
    permutation,
    random_sign_flips,
    sign_flips,
)

MCNEMAR = "McNemar, exact"
RANDOM_FLIPS = 99_999
SIGN_FLIPS = "sign flips, exact"
LONG_SIGN_FLIPS = f"sign flips, {RANDOM_FLIPS:,} random"
EXCHANGED = "exchange of runs"
AND_EXCHANGE = f" and {EXCHANGED}"
_FEWEST_FLIPS = 9_999
_FLIPS_PER_TEST = 50  # so that Holm's smallest p-value is well below 5 %


class Tested(NamedTuple):
    """A row of the table against its baseline, before the correction."""

    effect_size: float | None
    p_value: float
    test: str


def tests_against_baselines(comparison: Comparison, table: Paired) -> dict[int, Tested]:
    """The rows of the table that have their baseline beside them."""
    place = {index: position for position, index in enumerate(table.indices)}
    pairs = {
        index: (position, place[base])
        for index, position in place.items()
        if (base := comparison.baseline_of(index)) is not None and base in place
    }
    if not pairs:
        return {}
    sizes = {
        index: effect_size(differences(table.values_RN[mine], table.values_RN[theirs]))
        for index, (mine, theirs) in pairs.items()
    }
    if table.shares:
        return {index: Tested(sizes[index], *_exact(table, *pair)) for index, pair in pairs.items()}
    flips = max(_FEWEST_FLIPS, _FLIPS_PER_TEST * len(pairs))
    p_values = permutation(table.values_RN.T, list(pairs.values()), flips).tolist()
    found = {}
    for (index, (mine, theirs)), p in zip(pairs.items(), p_values, strict=True):
        unequal = table.seeds[mine] != table.seeds[theirs]
        larger = max(p, exchange_of_runs(table, mine, theirs)) if unequal else p
        name = f"permutation of {flips:,}{AND_EXCHANGE if unequal else ''}"
        found[index] = Tested(sizes[index], larger, name)
    return found


def _exact(table: Paired, mine: int, theirs: int) -> tuple[float, str]:
    """p of outcomes of 0 and 1, and the name of the test."""
    first_N, second_N = table.values_RN[mine], table.values_RN[theirs]
    if table.seeds[mine] == table.seeds[theirs] == 1:
        return mcnemar(first_N > 0.5, second_N > 0.5), MCNEMAR
    scale = lcm(table.seeds[mine], table.seeds[theirs])  # makes whole numbers of means over seeds
    apart_N = np.rint((first_N - second_N) * scale).astype(np.int64)
    long = is_long(apart_N)
    p = random_sign_flips(apart_N, RANDOM_FLIPS) if long else sign_flips(apart_N)
    name = LONG_SIGN_FLIPS if long else SIGN_FLIPS
    if table.seeds[mine] == table.seeds[theirs]:
        return p, name
    return max(p, exchange_of_runs(table, mine, theirs)), name + AND_EXCHANGE


def exchange_of_runs(table: Paired, one: int, other: int) -> float:
    """p of two rows of the table with unequal numbers of runs."""
    first, second = table.runs(one), table.runs(other)
    exact = exchanged_hits(first, second) if table.shares else None
    return exchanged(first, second) if exact is None else exact
