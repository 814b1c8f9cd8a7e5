"""Arrays of the table's rows for paired tests: the value of each test row for each recipe, per run and as the mean.

Only recipes evaluated on exactly the same rows share an array. Reads no files, tests nothing.
Shapes: N test rows, R rows of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft.report.compared.outcomes import Outcomes, gradients_of, is_made
from sft.report.comparison import Comparison, Row
from sft.report.read.runs import Run
from sft.report.statistics.crossed import Recipe
from sft.report.statistics.exchange import Runs, runs_of_hits
from sft.report.statistics.sums import Floats

OutcomesByRun = Mapping[tuple[str, str], Outcomes]  # by run id and split
MetricsByRun = Mapping[tuple[str, str], frozenset[str]]  # metrics that may be computed from rows, by the same keys

_Plan = tuple[str, tuple[int, ...]]  # a metric, and indices of the table's rows
_Key = tuple[str, str]
_MOST_BYTES = 250 * 2**20  # of the arrays of several metrics at once
_SPLIT = "test"


@dataclass(frozen=True)
class Paired:
    """One metric of the table's rows that were evaluated on the same test rows.

    Args:
        metric: its name.
        indices: of the table's rows, R.
        seeds: number of runs of each.
        values_RN: contribution of each test row to the metric, mean over seeds (see `Outcomes.row_values`).
        shares: whether all values of runs are 0 or 1.
        recipes: the single runs of each.
        squares_RN, cubes_RN: sums over seeds; None for shares and where all have equally many runs.
    """

    metric: str
    indices: tuple[int, ...]
    seeds: tuple[int, ...]
    values_RN: Floats
    shares: bool
    recipes: tuple[Recipe, ...]
    squares_RN: Floats | None = None
    cubes_RN: Floats | None = None

    def runs(self, position: int) -> Runs:
        """Return the runs of a row of the table, by its position in `indices`."""
        sums_N = self.values_RN[position] * self.seeds[position]
        if self.squares_RN is None or self.cubes_RN is None:
            return runs_of_hits(self.seeds[position], np.rint(sums_N).astype(np.int64))
        return Runs(self.seeds[position], sums_N, self.squares_RN[position], self.cubes_RN[position])


def same_rows(comparison: Comparison, outcomes: OutcomesByRun, split: str) -> bool:
    """Whether all runs of the table with readable rows were evaluated on the same rows of a split, in the same order.

    Compares the content of the rows; `comparison.comparable` compares what the runs recorded about their data.
    """
    evaluated = {
        (one.fingerprint, one.rows)
        for run in comparison.runs
        if (one := outcomes.get((run.id, split))) is not None and one.fingerprint
    }
    return len(evaluated) <= 1


def known_metrics(
    comparison: Comparison, outcomes: OutcomesByRun
) -> tuple[dict[tuple[str, str], frozenset[str]], list[str]]:
    """Return the metrics whose values from rows equal the result, by run and split; and those that differ."""
    known: dict[tuple[str, str], frozenset[str]] = {}
    differing: list[str] = []
    for run in comparison.runs:
        for split in ("test", "validation"):
            outcome = outcomes.get((run.id, split))
            if outcome is None:
                continue
            values, stored = outcome.values(), run.metrics(split)
            same = {key for key, value in values.items() if is_made(stored.get(key), value)}
            known[run.id, split] = frozenset(same)
            differing += [key for key in values if key in stored and key not in same]
    return known, list(dict.fromkeys(differing))


def paired_rows(comparison: Comparison, outcomes: OutcomesByRun, known: MetricsByRun) -> Iterator[Paired]:
    """Yield the arrays of each metric, once for every set of test rows that several rows of the table share.

    Args:
        comparison: the table.
        outcomes: outcomes of its runs.
        known: metrics from `known_metrics`.
    """
    plans = list(_plans(comparison, outcomes, known))
    while plans:
        room, block = _MOST_BYTES, list[_Plan]()
        while plans and (not block or _size(plans[0], outcomes, comparison) <= room):
            room -= _size(plans[0], outcomes, comparison)
            block.append(plans.pop(0))
        yield from _filled(block, comparison, outcomes)


def _plans(comparison: Comparison, outcomes: OutcomesByRun, known: MetricsByRun) -> Iterator[_Plan]:
    """Yield each metric with the indices of the table's rows that can be paired."""
    metrics = dict.fromkeys(key for names in known.values() for key in sorted(names))
    for metric in metrics:
        groups: dict[tuple[str, int], list[int]] = {}
        for index, row in enumerate(comparison.rows):
            fingerprint = _rows_fingerprint(row, metric, outcomes, known)
            if fingerprint is not None:
                groups.setdefault(fingerprint, []).append(index)
        yield from ((metric, tuple(indices)) for indices in groups.values() if len(indices) > 1)


def _rows_fingerprint(row: Row, metric: str, outcomes: OutcomesByRun, known: MetricsByRun) -> tuple[str, int] | None:
    """Return the rows that all its runs with the metric were evaluated on; None where these differ or are unknown."""
    keys = [(run.id, _SPLIT) for run in _runs(row, metric)]
    if not keys or not all(metric in known.get(key, ()) and outcomes[key].rows > 1 for key in keys):
        return None
    evaluated = {(outcomes[key].fingerprint, outcomes[key].rows) for key in keys}
    return evaluated.pop() if len(evaluated) == 1 else None


def _runs(row: Row, metric: str) -> list[Run]:
    return [run for run in row.runs if metric in run.metrics(_SPLIT)]


def _size(plan: _Plan, outcomes: OutcomesByRun, comparison: Comparison) -> int:
    metric, indices = plan
    runs = [_runs(comparison.rows[index], metric) for index in indices]
    arrays = 1 if len({len(of_row) for of_row in runs}) == 1 else 3
    return (8 * arrays * len(indices) + 4 * sum(map(len, runs))) * outcomes[runs[0][0].id, _SPLIT].rows


def _filled(plans: Sequence[_Plan], comparison: Comparison, outcomes: OutcomesByRun) -> Iterator[Paired]:
    """Yield the arrays of several metrics; the outcomes of each run are read once for all of them."""
    tables = [_Table(metric, indices, comparison, outcomes) for metric, indices in plans]
    gradients: dict[Any, dict[str, Floats] | None] = {}
    positions: dict[_Key, list[tuple[_Table, int, int]]] = {}
    for table in tables:
        if table.keys not in gradients:
            gradients[table.keys] = gradients_of([[outcomes[key] for key in of_row] for of_row in table.keys])
        for row, of_row in enumerate(table.keys):
            for number, key in enumerate(of_row):
                positions.setdefault(key, []).append((table, row, number))
    for key, needed in positions.items():
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
    """Builds the arrays of one metric run by run.

    Args:
        metric: name of the metric.
        indices: indices of the table's rows, R.
        comparison: the table.
        outcomes: outcomes of all runs.
    """

    def __init__(self, metric: str, indices: tuple[int, ...], comparison: Comparison, outcomes: OutcomesByRun) -> None:
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
        """Add one run of a row of the table."""
        power_N = values_N
        for number, sums_RN in enumerate(self._powers):
            power_N = values_N if number == 0 else power_N * values_N
            sums_RN[row] += power_N

    def paired(self) -> Paired:
        """Return the means over runs and the runs themselves."""
        seeds = tuple(len(of_row) for of_row in self.keys)
        sums_RN, *powers = self._powers
        sums_RN /= np.array(seeds)[:, None]  # divided once: sums of thirds differ in their last digit
        recipes = tuple(map(self._recipe, self._rows, self.influences))
        return Paired(self.metric, self._indices, seeds, sums_RN, self._shares, recipes, *powers)

    def _recipe(self, row: Row, influences_SN: NDArray[np.float32]) -> Recipe:
        runs = _runs(row, self.metric)
        seeds = () if row.is_fixed else tuple(run.seed for run in runs)
        if len(set(seeds)) < len(seeds):  # runs that share a seed give no information on other seeds
            seeds = seeds[:1]
        return Recipe(seeds, np.array([run.metrics(_SPLIT)[self.metric] for run in runs]), influences_SN)
