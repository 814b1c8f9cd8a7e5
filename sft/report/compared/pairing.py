"""Rows of the table side by side: what each test row is worth under each recipe, in each run and as the mean.

Only recipes that were judged on the very same rows stand in one array. Reads no files, tests nothing.
Shapes: N test rows, R rows of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft.report.compared.outcomes import Outcomes, gradients_of
from sft.report.comparison import Comparison, Row
from sft.report.read.runs import Run
from sft.report.statistics.crossed import Recipe
from sft.report.statistics.exchange import Runs, of_hits
from sft.report.statistics.sums import Floats

Found = Mapping[tuple[str, str], Outcomes]  # by run id and split
Known = Mapping[tuple[str, str], frozenset[str]]  # the metrics that may be made of rows, by the same

_Plan = tuple[str, tuple[int, ...]]  # a metric, and indices of the table's rows
_Key = tuple[str, str]
_TOLERANCE = 1e-4  # between a metric made of rows and the one in result.json; relative above 1
_MOST_BYTES = 250 * 2**20  # of the arrays of several metrics at once
_SPLIT = "test"


@dataclass(frozen=True)
class Paired:
    """A metric of the rows of the table that were judged on the same test rows.

    Args:
        metric: its name.
        indices: of the table's rows, R.
        seeds: how many runs each of these has.
        values_RN: what each test row adds to the metric, the mean over seeds (see `Outcomes.row_values`).
        shares: whether each run has but 0 and 1.
        recipes: the runs of each of these, one by one.
        squares_RN, cubes_RN: sums over seeds; none for shares, and where all have as many runs.
    """

    metric: str
    indices: tuple[int, ...]
    seeds: tuple[int, ...]
    values_RN: Floats
    shares: bool
    recipes: tuple[Recipe, ...]
    squares_RN: Floats | None = None
    cubes_RN: Floats | None = None

    def runs(self, place: int) -> Runs:
        """Those of a row of the table, by its place among `indices`."""
        sums_N = self.values_RN[place] * self.seeds[place]
        if self.squares_RN is None or self.cubes_RN is None:
            return of_hits(self.seeds[place], np.rint(sums_N).astype(np.int64))
        return Runs(self.seeds[place], sums_N, self.squares_RN[place], self.cubes_RN[place])


def same_rows(comparison: Comparison, outcomes: Found, split: str) -> bool:
    """Whether all runs of the table whose rows are known were judged on the same rows of a split, in the same order.

    By what stands in the rows, where `comparison.comparable` goes by what the runs recorded of their data.
    """
    found = {
        (one.judged_on, one.rows)
        for run in comparison.runs
        if (one := outcomes.get((run.id, split))) is not None and one.judged_on
    }
    return len(found) <= 1


def known_metrics(comparison: Comparison, outcomes: Found) -> tuple[dict[tuple[str, str], frozenset[str]], list[str]]:
    """For each run and split the metrics that its rows give as its result has them; and those that differ, by name."""
    known: dict[tuple[str, str], frozenset[str]] = {}
    differing: list[str] = []
    for run in comparison.runs:
        for split in ("test", "validation"):
            found = outcomes.get((run.id, split))
            if found is None:
                continue
            values, stored = found.values(), run.metrics(split)
            same = {
                key
                for key, value in values.items()
                if abs(stored.get(key, np.inf) - value) <= _TOLERANCE * max(1.0, abs(value))
            }
            known[run.id, split] = frozenset(same)
            differing += [key for key in values if key in stored and key not in same]
    return known, list(dict.fromkeys(differing))


def paired_rows(comparison: Comparison, outcomes: Found, known: Known) -> Iterator[Paired]:
    """Each metric in turn, once for every set of test rows that two rows of the table share.

    Args:
        comparison: the table.
        outcomes: of its runs.
        known: as `known_metrics` gives them.
    """
    plans = list(_plans(comparison, outcomes, known))
    while plans:
        room, block = _MOST_BYTES, list[_Plan]()
        while plans and (not block or _size(plans[0], outcomes, comparison) <= room):
            room -= _size(plans[0], outcomes, comparison)
            block.append(plans.pop(0))
        yield from _filled(block, comparison, outcomes)


def _plans(comparison: Comparison, outcomes: Found, known: Known) -> Iterator[_Plan]:
    """Metric and indices of the table's rows."""
    metrics = dict.fromkeys(key for found in known.values() for key in sorted(found))
    for metric in metrics:
        groups: dict[tuple[str, int], list[int]] = {}
        for index, row in enumerate(comparison.rows):
            judged_on = _judged_on(row, metric, outcomes, known)
            if judged_on is not None:
                groups.setdefault(judged_on, []).append(index)
        yield from ((metric, tuple(indices)) for indices in groups.values() if len(indices) > 1)


def _judged_on(row: Row, metric: str, outcomes: Found, known: Known) -> tuple[str, int] | None:
    """The rows that all of its runs with that metric were judged on; None where that cannot be told of one."""
    keys = [(run.id, _SPLIT) for run in _runs(row, metric)]
    if not keys or not all(metric in known.get(key, ()) and outcomes[key].rows > 1 for key in keys):
        return None
    places = {(outcomes[key].judged_on, outcomes[key].rows) for key in keys}
    return places.pop() if len(places) == 1 else None


def _runs(row: Row, metric: str) -> list[Run]:
    return [run for run in row.runs if metric in run.metrics(_SPLIT)]


def _size(plan: _Plan, outcomes: Found, comparison: Comparison) -> int:
    metric, indices = plan
    runs = [_runs(comparison.rows[index], metric) for index in indices]
    arrays = 1 if len({len(of_row) for of_row in runs}) == 1 else 3
    return (8 * arrays * len(indices) + 4 * sum(map(len, runs))) * outcomes[runs[0][0].id, _SPLIT].rows


def _filled(plans: Sequence[_Plan], comparison: Comparison, outcomes: Found) -> Iterator[Paired]:
    """The arrays of some metrics, each run's rows taken once for all of them."""
    tables = [_Table(metric, indices, comparison, outcomes) for metric, indices in plans]
    gradients: dict[Any, dict[str, Floats] | None] = {}
    places: dict[_Key, list[tuple[_Table, int, int]]] = {}
    for table in tables:
        if table.keys not in gradients:
            gradients[table.keys] = gradients_of([[outcomes[key] for key in of_row] for of_row in table.keys])
        for row, of_row in enumerate(table.keys):
            for number, key in enumerate(of_row):
                places.setdefault(key, []).append((table, row, number))
    for key, needed in places.items():
        own = outcomes[key]
        influences, values = own.influences(), dict[Any, dict[str, Floats]]()
        for table, row, number in needed:
            if table.keys not in values:
                slopes = gradients[table.keys]
                values[table.keys] = influences if slopes is None else own.row_values(slopes)
            table.add(row, values[table.keys][table.metric])
            table.influences[row][number] = influences[table.metric]
    yield from (table.paired() for table in tables)


class _Table:
    """The arrays of one metric, run by run.

    Args:
        metric: its name.
        indices: of the table's rows, R.
        comparison: the table.
        outcomes: of all runs.
    """

    def __init__(self, metric: str, indices: tuple[int, ...], comparison: Comparison, outcomes: Found) -> None:
        self.metric = metric
        self._rows = [comparison.rows[index] for index in indices]
        runs = [_runs(row, metric) for row in self._rows]
        self.keys = tuple(tuple((run.id, _SPLIT) for run in of_row) for of_row in runs)
        self._indices = indices
        self._shares = all(metric in outcomes[key].hits for of_row in self.keys for key in of_row)
        unequal = len({len(of_row) for of_row in runs}) > 1
        rows = outcomes[self.keys[0][0]].rows
        self._powers = [np.zeros((len(runs), rows)) for _ in range(3 if unequal and not self._shares else 1)]
        self.influences = [np.zeros((len(of_row), rows), dtype=np.float32) for of_row in runs]

    def add(self, row: int, values_N: Floats) -> None:
        """One run of that row of the table."""
        power_N = values_N
        for number, sums_RN in enumerate(self._powers):
            power_N = values_N if number == 0 else power_N * values_N
            sums_RN[row] += power_N

    def paired(self) -> Paired:
        """The means over runs, and the runs themselves."""
        seeds = tuple(len(of_row) for of_row in self.keys)
        sums_RN, *powers = self._powers
        sums_RN /= np.array(seeds)[:, None]  # once: thirds that are added up differ in their last digit
        recipes = tuple(map(self._recipe, self._rows, self.influences))
        return Paired(self.metric, self._indices, seeds, sums_RN, self._shares, recipes, *powers)

    def _recipe(self, row: Row, influences_SN: NDArray[np.float32]) -> Recipe:
        runs = _runs(row, self.metric)
        seeds = () if row.is_fixed else tuple(run.seed for run in runs)
        if len(set(seeds)) < len(seeds):  # runs that share a seed say nothing of other seeds
            seeds = seeds[:1]
        return Recipe(seeds, np.array([run.metrics(_SPLIT)[self.metric] for run in runs]), influences_SN)
