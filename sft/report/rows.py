"""From runs to rows: runs that differ only by seed are one row, with mean and standard deviation; and which is best.

Knows nothing of files, Markdown or terminals.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sft.config.varying import Setting, varying_settings
from sft.errors import UserError, did_you_mean
from sft.report.earlier import Earlier, earlier_runs
from sft.report.metrics import HEADLINE_METRICS, best_of, is_asked_for
from sft.report.runs import Run, all_runs, planned_runs
from sft.results.store import ResultStore


class Estimate(NamedTuple):
    """A metric over the seeds of a row: mean, standard deviation (n - 1; None for one run), number of runs."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """The runs of one configuration."""

    runs: tuple[Run, ...]
    name: str
    labelled: tuple[int, ...] = ()

    @property
    def finished(self) -> int:
        """How many of its runs have a result."""
        return sum(run.result is not None for run in self.runs)

    def metrics(self, split: str = "test") -> tuple[str, ...]:
        """The metrics that some of its runs have on a split."""
        return tuple(dict.fromkeys(key for run in self.runs for key in run.metrics(split)))

    def estimate(self, metric: str, split: str = "test") -> Estimate | None:
        """A metric over those of its runs that have it; None where none has."""
        found = [run.metrics(split)[metric] for run in self.runs if metric in run.metrics(split)]
        return _estimate(found) if found else None

    def judged_rows(self, split: str = "test") -> frozenset[str]:
        """What its runs were judged on: one text per distinct set of rows."""
        return frozenset(rows for run in self.runs if (rows := run.judged_rows(split)) is not None)


@dataclass(frozen=True)
class Comparison:
    """Everything a report shows.

    Args:
        runs: every experiment of the plan (or of the folder), in order.
        rows: one per configuration, in the same order.
        settings: what varies between rows; each setting's values stand in the order of `rows`.
        metrics: keys of the metrics shown, in order.
        best: metric -> indices of the rows that are best, several where they are equal.
        chosen_on: the split on which the best rows were chosen.
        comparable: whether all rows that were judged were judged on the same data.
        baseline: index of the row that others are compared with.
        earlier: finished runs of earlier content of the user's files, which are not in the plan.
    """

    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    settings: tuple[Setting, ...]
    metrics: tuple[str, ...]
    best: Mapping[str, tuple[int, ...]]
    chosen_on: str
    comparable: bool
    baseline: int | None = None
    earlier: tuple[Earlier, ...] = ()

    @property
    def unfinished(self) -> tuple[Run, ...]:
        """The runs without a result."""
        return tuple(run for run in self.runs if run.result is None)

    @property
    def partial(self) -> bool:
        """Whether a row lacks some of its runs, and so was not considered as best."""
        return any(0 < row.finished < len(row.runs) for row in self.rows)


def compare(
    store: ResultStore, everything: bool = False, baseline: str | None = None, calibration: str | None = None
) -> Comparison:
    """Lay out the runs of the last grid; with `everything`, or without a plan, all runs of the folder.

    Args:
        store: the results folder.
        everything: all runs that are there.
        baseline: name of the row that others are compared with.
        calibration: name of the one under which all runs are shown, made from their stored scores; None: as they ran.

    Raises:
        UserError: no row has the name of the baseline, the plan cannot be read, there is nothing to report, or nothing
            to calibrate.
    """
    planned = None if everything else planned_runs(store)
    runs = all_runs(store) if planned is None else planned
    if not runs:
        raise UserError(f"{store.root}: no runs to report; run-experiments writes them")
    if calibration is not None:
        from sft.report.calibrated import calibrated_runs

        runs = calibrated_runs(runs, calibration)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.recipe_id, []).append(run)
    rows = tuple(_row(group) for group in groups.values())
    metrics = _shown_metrics(rows)
    judged = [row for row in rows if row.metrics()]
    chosen_on = "validation" if judged and all(row.metrics("validation") for row in judged) else "test"
    comparable = _same_rows(judged, chosen_on)
    return Comparison(
        runs=tuple(runs),
        rows=rows,
        settings=tuple(varying_settings([row.runs[0].config for row in rows])),
        metrics=metrics,
        best={key: best for key in metrics if comparable and (best := _best(rows, key, chosen_on))},
        chosen_on=chosen_on,
        comparable=comparable,
        baseline=None if baseline is None else _named(rows, baseline),
        earlier=() if planned is None else earlier_runs(store, runs),
    )


def _named(rows: Sequence[Row], name: str) -> int:
    names = [row.name for row in rows]
    if name not in names:
        raise UserError(f'--baseline: no row is named "{name}"{did_you_mean(name, names)} (rows: {", ".join(names)})')
    return names.index(name)


def _shown_metrics(rows: Sequence[Row]) -> tuple[str, ...]:
    """The leading metrics that some row has, then those that a config asked for."""
    found = {key for row in rows for run in row.runs for key in run.metrics()}
    leading = [key for key in HEADLINE_METRICS if key in found]
    asked = [
        key
        for row in rows
        if row.runs[0].config.evaluation.metrics
        for key in row.metrics()
        if is_asked_for(key, row.runs[0].config.dataset.task_type)
    ]
    return tuple(dict.fromkeys([*leading, *asked]))


def _row(runs: Sequence[Run]) -> Row:
    name = runs[0].name.removesuffix(f" seed={runs[0].seed}")
    return Row(
        runs=tuple(runs),
        name=name,
        labelled=tuple(run.result.labelled_examples for run in runs if run.result is not None),
    )


def _estimate(values: Sequence[float]) -> Estimate:
    """Mean and sample standard deviation."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Estimate(statistics.fmean(values), spread, len(values))


def _best(rows: Sequence[Row], metric: str, chosen_on: str) -> tuple[int, ...]:
    """The rows with the best mean: of the validation split where all rows have one, so as not to choose on the test.

    Only whole rows compete: all their runs have the metric.
    """
    estimates = [row.estimate(metric, chosen_on) for row in rows]
    whole = {
        index: found.mean
        for index, (row, found) in enumerate(zip(rows, estimates, strict=True))
        if found is not None and found.n == len(row.runs)
    }
    best = best_of(metric, tuple(whole.values())) if len(whole) > 1 else None
    if best is None:
        return ()
    return tuple(index for index, mean in whole.items() if math.isclose(mean, best, rel_tol=1e-9, abs_tol=1e-12))


def _same_rows(rows: Sequence[Row], chosen_on: str) -> bool:
    """Whether the test rows, and those that the best is chosen on, are the same for all."""
    return all(len(frozenset().union(*(row.judged_rows(split) for row in rows))) <= 1 for split in {"test", chosen_on})
