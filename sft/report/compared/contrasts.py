"""Tests of two rows of the table on the same test rows: whether the models as trained here differ.

They say nothing about other seeds. With equal numbers of runs the test flips the differences of the test rows, exactly
for shares of rows. With unequal numbers that alone is not valid: see `sft.report.statistics.exchange`.
Shapes: N test rows, R rows of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm
from typing import NamedTuple

import numpy as np

from sft.report.compared.pairing import Paired
from sft.report.statistics.exchange import exact_exchange, moments_exchange
from sft.report.statistics.paired import (
    differences,
    effect_size,
    exact_flips,
    is_long,
    mcnemar,
    permutation,
    random_flips,
)

MCNEMAR = "McNemar, exact"
RANDOM_FLIPS = 99_999
EXACT_FLIPS = "sign flips, exact"
LONG_FLIPS = f"sign flips, {RANDOM_FLIPS:,} random"
EXCHANGED = "exchange of runs"
AND_EXCHANGE = f" and {EXCHANGED}"
_FEWEST_FLIPS = 9_999
_FLIPS_PER_TEST = 50  # so that Holm's smallest p-value is well below 5 %


class Tested(NamedTuple):
    """Test of two rows of the table, before the correction.

    Args:
        effect_size: Cohen's d of the rows' differences; None where it is not defined.
        p_value: two-sided.
        test: name of the test.
        least: the smallest p that the test can give, which only means "below that"; 0 for exact tests.
    """

    effect_size: float | None
    p_value: float
    test: str
    least: float = 0.0

    @property
    def lower_bound(self) -> float:
        """Lower bound of p: 0 where no random flip gave as large a difference."""
        return self.p_value if self.p_value > self.least else 0.0


def rows_tests(table: Paired, pairs: Sequence[tuple[int, int]]) -> list[Tested]:
    """Test pairs of the table's rows; each pair holds two positions in `table.indices`."""
    if not pairs:
        return []
    sizes = [effect_size(differences(table.values_RN[one], table.values_RN[other])) for one, other in pairs]
    if table.shares:
        return [Tested(size, *_exact(table, *pair)) for size, pair in zip(sizes, pairs, strict=True)]
    flips = max(_FEWEST_FLIPS, _FLIPS_PER_TEST * len(pairs))
    p_values = permutation(table.values_RN.T, pairs, flips).tolist()
    tested = []
    for size, (one, other), p in zip(sizes, pairs, p_values, strict=True):
        unequal = table.seeds[one] != table.seeds[other]
        larger = max(p, exchange_of_runs(table, one, other)) if unequal else p
        name = f"permutation of {flips:,}{AND_EXCHANGE if unequal else ''}"
        tested.append(Tested(size, larger, name, 1 / (1 + flips)))
    return tested


def _exact(table: Paired, mine: int, theirs: int) -> tuple[float, str]:
    """Return p for outcomes of 0 and 1, and the name of the test."""
    first_N, second_N = table.values_RN[mine], table.values_RN[theirs]
    if table.seeds[mine] == table.seeds[theirs] == 1:
        return mcnemar(first_N > 0.5, second_N > 0.5), MCNEMAR
    scale = lcm(table.seeds[mine], table.seeds[theirs])  # turns means over seeds into integers
    differences_N = np.rint((first_N - second_N) * scale).astype(np.int64)
    long = is_long(differences_N)
    p = random_flips(differences_N, RANDOM_FLIPS) if long else exact_flips(differences_N)
    name = LONG_FLIPS if long else EXACT_FLIPS
    if table.seeds[mine] == table.seeds[theirs]:
        return p, name
    return max(p, exchange_of_runs(table, mine, theirs)), name + AND_EXCHANGE


def exchange_of_runs(table: Paired, one: int, other: int) -> float:
    """Return p for two rows of the table with unequal numbers of runs."""
    first, second = table.runs(one), table.runs(other)
    exact = exact_exchange(first, second) if table.shares else None
    return moments_exchange(first, second) if exact is None else exact
