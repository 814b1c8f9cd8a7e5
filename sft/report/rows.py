"""Group runs into rows: runs that differ only by seed are one row, with mean and standard deviation. Find the best.

This module imports nothing heavy. `sft.report.build` later adds what needs the evaluated rows: intervals and tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from sft.config.varying import Setting, varying_settings
from sft.errors import UserError
from sft.log import get_logger
from sft.report.choices import Choices, baselines, chosen, grouped, leading, row_name
from sft.report.comparison import Comparison, Row
from sft.report.metrics import HEADLINE_METRICS, best_of, is_asked_for
from sft.report.read.copies import copies, distinct, each_once
from sft.report.read.earlier import earlier_runs
from sft.report.read.runs import Run, all_runs, planned_runs
from sft.results.store import RUNS, ResultStore

log = get_logger(__name__)

_DEFAULT = Choices()
_OF_DATA = ("dataset.", "prompting.")
_CHOSEN = ("dataset.path", "dataset.shots", "dataset.max_n_test")  # varying whatever the data is


def compare(
    store: ResultStore, choices: Choices = _DEFAULT, others: Sequence[ResultStore] = (), folder: Path | None = None
) -> Comparison:
    """Compare the runs of the last grid; with `choices.everything` or without a plan, all runs of the folder.

    Args:
        store: the results folder.
        choices: the options of the report.
        others: further results folders; an experiment in several folders is shown once, finished if any copy is.
        folder: the folder of the report's files; None: the results folder.

    Raises:
        UserError: a choice that matches nothing, an unreadable plan, nothing to report, or nothing to calibrate.
    """
    stores = distinct((store, *others))
    planned = [None if choices.everything else planned_runs(each) for each in stores]
    runs_by_store = [all_runs(each) if runs is None else runs for each, runs in zip(stores, planned, strict=True)]
    for each, runs_of_store in zip(stores, runs_by_store, strict=True):
        if not runs_of_store:
            near = f"; did you mean {each.root.parent}?" if each.root.name == RUNS else ""
            raise UserError(f"{each.root}: no runs to report{near or '; run-experiments writes them'}")
    if choices.group_by and choices.baseline is not None:
        raise UserError("--baseline: cannot be combined with --group-by; choose one")
    runs = chosen(each_once(runs_by_store), choices.where, choices.baseline)
    twice = tuple(copies(stores, runs))
    odd: dict[str, str] = {}
    if choices.calibration is not None:
        from sft.report.read.calibrated import calibrated_runs, merged_runs

        runs = merged_runs(calibrated_runs(runs, choices.calibration, odd, choices.trust))
    rows, settings = _rows(runs, choices.group_by)
    if choices.calibration is not None:
        settings = tuple(each for each in settings if not each.key.startswith("inference.calibration_args."))
    metrics = leading(_shown_metrics(rows), rows, choices.metric)
    evaluated = [row for row in rows if row.metrics()]
    chosen_on = "validation" if evaluated and all(row.metrics("validation") for row in evaluated) else "test"
    comparable = _same_rows(evaluated, chosen_on)
    return Comparison(
        runs=tuple(runs),
        rows=rows,
        settings=settings,
        metrics=metrics,
        best={key: best for key in metrics if comparable and (best := best_rows(rows, key, chosen_on))},
        chosen_on=chosen_on,
        comparable=comparable,
        baselines=(None,) * len(rows) if choices.group_by else baselines(rows, choices.baseline),
        baseline_named=choices.baseline is not None,
        copies=twice,
        odd=odd,
        earlier=() if planned[0] is None or choices.where else earlier_runs(store, runs),
        grouped=choices.group_by,
        where=choices.where,
        calibration=choices.calibration,
        folder=folder or store.root,
    )


def _rows(runs: Sequence[Run], group_by: Sequence[str]) -> tuple[tuple[Row, ...], tuple[Setting, ...]]:
    """Return the rows and the settings that vary between them."""
    if group_by:
        groups, settings = grouped(runs, group_by)
        names = [" ".join(f"{each.name}={each.values[index]}" for each in settings) for index in range(len(groups))]
        return tuple(_row(group, name) for group, name in zip(groups, names, strict=True)), settings
    recipes: dict[str, list[Run]] = {}
    for run in runs:
        recipes.setdefault(run.recipe_id, []).append(run)
    rows = tuple(_row(group, row_name(group[0])) for group in recipes.values())
    return rows, tuple(_without_settings_of_the_data(varying_settings([row.runs[0].config for row in rows])))


def _without_settings_of_the_data(settings: Sequence[Setting]) -> Iterator[Setting]:
    """Yield the settings, except those of the data (columns, splits, files) that change only together with its path."""
    path = next((setting for setting in settings if setting.key == "dataset.path"), None)
    for setting in settings:
        of_data = path is not None and setting.key.startswith(_OF_DATA) and setting.key not in _CHOSEN
        if path is None or not of_data or len({*zip(path.values, setting.values, strict=True)}) > len({*path.values}):
            yield setting


def _shown_metrics(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the headline metrics that any row has, then those that a config requests."""
    available = {key for row in rows for run in row.runs for key in run.metrics()}
    headline = [key for key in HEADLINE_METRICS if key in available]
    requested = [key for row in rows for key in row.metrics() if is_asked_for(key, row.runs[0].config)]
    return tuple(dict.fromkeys([*headline, *requested]))


def _row(runs: Sequence[Run], name: str) -> Row:
    labelled = tuple(run.result.labelled_examples for run in runs if run.result is not None)
    return Row(runs=tuple(runs), name=name, labelled=labelled)


def best_rows(rows: Sequence[Row], metric: str, chosen_on: str) -> tuple[int, ...]:
    """Return the rows with the best mean on the split `chosen_on`.

    Only rows whose runs all have the metric can be best.
    """
    whole = {
        index: found.mean
        for index, row in enumerate(rows)
        if (found := row.estimate(metric, chosen_on)) is not None and row.is_whole(metric, chosen_on)
    }
    best = best_of(metric, tuple(whole.values())) if len(whole) > 1 else None
    if best is None:
        return ()
    equal = tuple(index for index, mean in whole.items() if math.isclose(mean, best, rel_tol=1e-9, abs_tol=1e-12))
    return equal if len(equal) < len(whole) else ()  # if all are equal, none is best


def _same_rows(rows: Sequence[Row], chosen_on: str) -> bool:
    """Whether all rows were evaluated on the same test rows, and the same rows of the split that chooses the best."""
    return all(
        len(frozenset().union(*(row.evaluated_rows(split) for row in rows))) <= 1 for split in {"test", chosen_on}
    )
