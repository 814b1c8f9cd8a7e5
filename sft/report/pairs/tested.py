"""The metrics of two runs that were judged on the same rows, with a paired test of each. Arrays only, seeded.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sft.report.compared.outcomes import Outcomes, gradients_of
from sft.report.statistics.bootstrap import Draws, bca_bounds
from sft.report.statistics.paired import effect_size, mcnemar, permutation

Values = Mapping[str, NDArray[np.float64]]

FLIPS = 9_999
EXACT = "McNemar, exact"
_FEWEST_DIFFERENT = 10  # rows, for an interval of a difference: with fewer, draws of the rows say too little
_TOLERANCE = 1e-4  # between a metric made of the rows and the one in result.json; relative above 1


class Tested(NamedTuple):
    """What the rows say of a difference of metrics: p, two-sided; its 95 % interval; Cohen's d of the paired rows."""

    p_value: float
    low: float | None
    high: float | None
    effect_size: float | None
    method: str


class Metric(NamedTuple):
    """A metric of both runs; its test where one could be made."""

    name: str
    a: float | None
    b: float | None
    test: Tested | None = None

    @property
    def difference(self) -> float | None:
        """B minus A."""
        return None if self.a is None or self.b is None else self.b - self.a


def tested(metrics: Sequence[Metric], first: Outcomes, second: Outcomes) -> Iterator[Metric]:
    """The metrics, with a test where they are made of rows.

    Args:
        metrics: of both runs, as their results have them.
        first: the rows of A.
        second: the same rows of B.
    """
    made = first.values(), second.values()
    able = {one.name for one in metrics if _is_made(one.a, one, made[0]) and _is_made(one.b, one, made[1])}
    if not able or first.rows < 2:
        yield from metrics
        return
    gradients = gradients_of([[first], [second]])
    influence = first.influences(), second.influences()
    values = influence if gradients is None else (first.row_values(gradients), second.row_values(gradients))
    drawn, unsure = _drawn(first, second), _unsure(first, second)
    p_values = _p_values(able, first, second, values)
    for one in metrics:
        if one.name not in able:
            yield one
            continue
        differences_N = values[1][one.name] - values[0][one.name]
        bounds = None
        if one.name in drawn and one.name not in unsure and np.count_nonzero(differences_N) >= _FEWEST_DIFFERENT:
            spread_N = influence[1][one.name] - influence[0][one.name]
            bounds = bca_bounds(made[1][one.name] - made[0][one.name], drawn[one.name], spread_N)
        low, high = bounds or (None, None)
        p, method = p_values[one.name]
        yield one._replace(test=Tested(p, low, high, effect_size(differences_N), method))


def _unsure(first: Outcomes, second: Outcomes) -> frozenset[str]:
    """The metrics whose bootstrap cannot be trusted: labels with too few rows."""
    return frozenset().union(*(one.unsure for side in (first, second) for one in side.sums()))


def _is_made(stored: float | None, metric: Metric, values: Mapping[str, float]) -> bool:
    value = values.get(metric.name)
    return stored is not None and value is not None and abs(stored - value) <= _TOLERANCE * max(1.0, abs(value))


def _drawn(first: Outcomes, second: Outcomes) -> dict[str, NDArray[np.float64]]:
    """B minus A of each metric in bootstrap draws of the rows [draws], the same draws for both."""
    sums = tuple([one for one in side.sums() if one.resampled] for side in (first, second))
    found = Draws(first.rows).replicates([*sums[0], *sums[1]])
    a, b = _merged(found[: len(sums[0])]), _merged(found[len(sums[0]) :])
    return {name: b[name] - a[name] for name in a if name in b}


def _merged(parts: Sequence[Mapping[str, NDArray[np.float64]]]) -> dict[str, NDArray[np.float64]]:
    found: dict[str, NDArray[np.float64]] = {}
    for one in parts:
        found = {**one, **found}
    return found


def _p_values(
    names: Collection[str], first: Outcomes, second: Outcomes, values: tuple[Values, Values]
) -> dict[str, tuple[float, str]]:
    """p of each metric, and how it was made: exactly where rows are right or wrong, else by one set of permutations."""
    exact = [name for name in names if name in first.hits and name in second.hits]
    found = {name: (mcnemar(first.hits[name], second.hits[name]), EXACT) for name in exact}
    if others := [name for name in names if name not in found]:
        columns = [side[name] / _size(values, name) for name in others for side in values]
        pairs = [(2 * place, 2 * place + 1) for place in range(len(others))]
        p_values = permutation(np.stack(columns, axis=1), pairs, FLIPS).tolist()
        found |= {name: (p, f"permutation of {FLIPS:,}") for name, p in zip(others, p_values, strict=True)}
    return found


def _size(values: tuple[Values, Values], name: str) -> float:
    """Of the rows' differences: metrics of any size are permuted together."""
    return float(np.sqrt(np.mean((values[1][name] - values[0][name]) ** 2))) or 1.0
