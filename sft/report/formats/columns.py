"""The comparison as named columns of plain values: its rows for the CSV, its rows and runs for Python.

    name, (one column per varying setting), labelled_examples, finished, planned, recipe_id, baseline, test_rows,
    judged_on, accuracy.mean, accuracy.std, accuracy.best, accuracy.ci_low, …, validation.accuracy.mean

Computes and formats nothing. A value that is not known is None.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sft.config.varying import ABSENT, Setting, settings, short_name, show
from sft.io import canonical_json, digest
from sft.report.comparison import Comparison, Row
from sft.report.formats.values import VALUES, values_of

_JUDGED_ON_DIGITS = 12
_TAKEN = ("asked", "fewest", "most")


class Columns(NamedTuple):
    """The names of the columns, and for each row its values in that order."""

    header: list[str]
    rows: list[list[Any]]


def row_columns(comparison: Comparison) -> Columns:
    """Return one row per configuration, with all of its metrics in full precision.

    `best` and `tied_with_best` are booleans; `baseline` names the row that a row is compared with; `judged_on` is equal
    for rows that were evaluated on the same data; `labelled_examples_max` is a column only where the runs of some row
    differ in it. Where some row took fewer labelled rows than asked for, `shots.asked`, `shots.fewest` and `shots.most`
    (of a label) are columns; `icl.…` (of a prompt, all labels together) and `num_train_samples.…` likewise. `threads`
    is a column only where runs differ in it.
    """
    metrics = {split: _metrics(comparison, split) for split in ("test", "validation")}
    ranges = any(len(set(row.labelled)) > 1 for row in comparison.rows)
    ours = ["name", "labelled_examples", *(["labelled_examples_max"] if ranges else []), "finished", "planned"]
    ours += ["recipe_id", "baseline", "test_rows", "judged_on", *(["threads"] if len(comparison.threads) > 1 else [])]
    counted = list(dict.fromkeys(key for row in comparison.rows for key, one in row.taken.items() if one.is_short))
    header = [ours[0], *_setting_names(comparison.settings, ours)]
    header += [f"{short_name(key)}.{name}" for key in counted for name in _TAKEN]
    header += ours[1:]
    header += [f"{metric}.{name}" for metric in metrics["test"] for name in VALUES]
    header += [f"validation.{metric}.{figure}" for metric in metrics["validation"] for figure in ("mean", "std")]
    rows = []
    for index, row in enumerate(comparison.rows):
        cells: list[Any] = [row.name, *(_setting(row, one, index) for one in comparison.settings)]
        cells += [cell for key in counted for cell in _taken(row, key)]
        cells += [*_labelled(row, ranges), row.finished, len(row.runs)]
        cells += [None if comparison.grouped else row.runs[0].recipe_id, _baseline(comparison, index), *_judged_on(row)]
        cells += [_threads(row)] if "threads" in ours else []
        cells += [figure for metric in metrics["test"] for figure in _test(comparison, index, metric)]
        cells += [cell for metric in metrics["validation"] for cell in _validation(row, metric)]
        rows.append(cells)
    return Columns(header, rows)


def run_columns(comparison: Comparison) -> Columns:
    """Return one row per run: its settings that vary, seed, status and metrics.

    Metrics of the test split go by their own names, those of the validation split by `validation.<name>`.
    """
    metrics = {split: _metrics(comparison, split) for split in ("test", "validation")}
    before = ["name", "seed", "status"]
    figures = [*metrics["test"], *(f"validation.{metric}" for metric in metrics["validation"])]
    after = ["labelled_examples", "seconds", "error", "recipe_id", "id", "folder"]
    names = _setting_names(comparison.settings, [*before, *figures, *after])
    header = ["name", *names, *before[1:], *figures, *after]
    settings_of: dict[str, list[Any]] = {}
    for index, row in enumerate(comparison.rows):
        values = [_setting(row, one, index) for one in comparison.settings]
        settings_of |= {run.id: values for run in row.runs}
    rows = []
    for run in comparison.runs:
        cells: list[Any] = [run.name, *settings_of[run.id], run.seed, run.state]
        cells += [run.metrics(split).get(metric) for split, found in metrics.items() for metric in found]
        cells += [None, None] if run.result is None else [run.result.labelled_examples, run.result.seconds]
        cells += [run.error, run.recipe_id, run.id, str(run.folder.path)]
        rows.append(cells)
    return Columns(header, rows)


def _metrics(comparison: Comparison, split: str) -> list[str]:
    """Those that some row has, the shown ones first."""
    there = dict.fromkeys(key for row in comparison.rows for key in row.metrics(split))
    return [
        *(key for key in comparison.metrics if key in there),
        *(key for key in there if key not in comparison.metrics),
    ]


def _setting_names(shown: Sequence[Setting], taken: Sequence[str]) -> Iterator[str]:
    for one in shown:
        yield one.key if one.name in taken else one.name


def _setting(row: Row, setting: Setting, index: int) -> Any:
    """The value of a setting: a number in full where the table rounds one; None where the row has no such setting."""
    said = setting.values[index]
    value = settings(row.runs[0].config).get(setting.key)
    if isinstance(value, int | float) and not isinstance(value, bool) and show(setting.key, value) == said:
        return value
    return None if said == ABSENT else said


def _taken(row: Row, key: str) -> list[Any]:
    """How many rows were asked for and taken, in all of a label or a prompt; where that is known."""
    one = row.taken.get(key)
    return [None] * len(_TAKEN) if one is None else [one.asked * one.labels, one.fewest, one.most]


def _labelled(row: Row, ranges: bool) -> list[Any]:
    """Labelled examples; the fewest and the most where the runs of some row differ."""
    if not row.labelled:
        return [None] * (1 + ranges)
    return [min(row.labelled), *([max(row.labelled)] if ranges else [])]


def _baseline(comparison: Comparison, index: int) -> str | None:
    place = comparison.baseline_of(index)
    return None if place is None else comparison.rows[place].name


def _judged_on(row: Row) -> list[Any]:
    """How many test rows, where that is known, and a short text that stands for which."""
    counts = sorted(
        {run.result.rows["test"] for run in row.runs if run.result is not None and "test" in run.result.rows}
    )
    rows = None if not counts else counts[0] if len(counts) == 1 else " or ".join(map(str, counts))
    which = sorted(row.evaluated_rows())
    return [rows, digest(canonical_json(which), _JUDGED_ON_DIGITS) if which else None]


def _threads(row: Row) -> str | None:
    """The numbers of threads that its runs computed with: `2`, or `1 or 2`."""
    found = {run.result.threads for run in row.runs if run.result is not None and run.result.threads is not None}
    return " or ".join(map(str, sorted(found))) or None


def _test(comparison: Comparison, index: int, metric: str) -> list[Any]:
    """The cells of a metric, in the order of `VALUES`."""
    found = values_of(comparison, index, metric)
    return [found[name] for name in VALUES]


def _validation(row: Row, metric: str) -> list[Any]:
    found = row.estimate(metric, "validation")
    return [None, None] if found is None else [found.mean, found.std]
