"""Metrics of two runs that were evaluated on the same rows, with a paired test of each. Arrays only, seeded.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sft.report.compared.outcomes import Outcomes, gradients_of, is_made
from sft.report.statistics.bootstrap import Draws, bca_bounds
from sft.report.statistics.paired import effect_size, mcnemar, permutation

Values = Mapping[str, NDArray[np.float64]]

FLIPS = 9_999
EXACT = "McNemar, exact"
_FEWEST_DIFFERENT = 10  # rows, for an interval of a difference: with fewer, resampling is not reliable


class Tested(NamedTuple):
    """Test of a difference of metrics: two-sided p, 95 % interval, and Cohen's d of the paired rows."""

    p_value: float
    low: float | None
    high: float | None
    effect_size: float | None
    method: str


class Metric(NamedTuple):
    """A metric of both runs, with its test where possible."""

    name: str
    a: float | None
    b: float | None
    test: Tested | None = None

    @property
    def difference(self) -> float | None:
        """B minus A."""
        return None if self.a is None or self.b is None else self.b - self.a


def tested(metrics: Sequence[Metric], first: Outcomes, second: Outcomes) -> Iterator[Metric]:
    """Yield the metrics, with a test where they can be computed from rows.

    Args:
        metrics: metrics of both results.
        first: outcomes of A.
        second: outcomes of B on the same rows.
    """
    computed = first.values(), second.values()
    testable = {
        one.name
        for one in metrics
        if all(is_made(stored, values.get(one.name)) for stored, values in zip((one.a, one.b), computed, strict=True))
    }
    if not testable or first.rows < 2:
        yield from metrics
        return
    gradients = gradients_of([[first], [second]])
    influence = first.influences(), second.influences()
    values = influence if gradients is None else (first.row_values(gradients), second.row_values(gradients))
    draws, unsure = _draws(first, second), _unsure(first, second)
    p_values = _p_values(testable, first, second, values)
    for one in metrics:
        if one.name not in testable:
            yield one
            continue
        differences_N = values[1][one.name] - values[0][one.name]
        bounds = None
        if one.name in draws and one.name not in unsure and np.count_nonzero(differences_N) >= _FEWEST_DIFFERENT:
            spread_N = influence[1][one.name] - influence[0][one.name]
            bounds = bca_bounds(computed[1][one.name] - computed[0][one.name], draws[one.name], spread_N)
        low, high = bounds or (None, None)
        p, method = p_values[one.name]
        yield one._replace(test=Tested(p, low, high, effect_size(differences_N), method))


def _unsure(first: Outcomes, second: Outcomes) -> frozenset[str]:
    """Return the metrics whose bootstrap is not reliable: labels with too few rows."""
    return frozenset().union(*(one.unsure for side in (first, second) for one in side.sums()))


def _draws(first: Outcomes, second: Outcomes) -> dict[str, NDArray[np.float64]]:
    """Return B minus A of each metric in each bootstrap draw [draws], with the same draws for both."""
    sums = tuple([one for one in side.sums() if one.resampled] for side in (first, second))
    replicates = Draws(first.rows).replicates([*sums[0], *sums[1]])
    a, b = _merged(replicates[: len(sums[0])]), _merged(replicates[len(sums[0]) :])
    return {name: b[name] - a[name] for name in a if name in b}


def _merged(parts: Sequence[Mapping[str, NDArray[np.float64]]]) -> dict[str, NDArray[np.float64]]:
    merged: dict[str, NDArray[np.float64]] = {}
    for one in parts:
        merged = {**one, **merged}
    return merged


def _p_values(
    names: Collection[str], first: Outcomes, second: Outcomes, values: tuple[Values, Values]
) -> dict[str, tuple[float, str]]:
    """Return p and method of each metric: exact where rows are right or wrong, else by one set of permutations."""
    exact = [name for name in names if name in first.hits and name in second.hits]
    results = {name: (mcnemar(first.hits[name], second.hits[name]), EXACT) for name in exact}
    if others := [name for name in names if name not in results]:
        columns = [side[name] / _size(values, name) for name in others for side in values]
        pairs = [(2 * number, 2 * number + 1) for number in range(len(others))]
        p_values = permutation(np.stack(columns, axis=1), pairs, FLIPS).tolist()
        results |= {name: (p, f"permutation of {FLIPS:,}") for name, p in zip(others, p_values, strict=True)}
    return results


def _size(values: tuple[Values, Values], name: str) -> float:
    """Return the scale of the rows' differences, since metrics of any scale are permuted together."""
    return float(np.sqrt(np.mean((values[1][name] - values[0][name]) ** 2))) or 1.0
