"""The comparison as named columns of plain values: rows for the CSV file, rows and runs for Python.

    name, (one column per varying setting), labelled_examples, finished, planned, recipe_id, baseline, test_rows, …,
    accuracy.mean, accuracy.std, accuracy.best, accuracy.ci_low, …, validation.accuracy.mean

Computes and formats nothing. An unknown value is None.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sft.config.varying import ABSENT, Setting, settings, short_name, show
from sft.io import canonical_json, digest
from sft.report.comparison import Comparison, Row
from sft.report.formats.values import VALUES, values_of

_FINGERPRINT_DIGITS = 12
_TAKEN = ("asked", "fewest", "most")


class Columns(NamedTuple):
    """The names of the columns, and the values of each row in that order."""

    header: list[str]
    rows: list[list[Any]]


def row_columns(comparison: Comparison) -> Columns:
    """Return one row per configuration, with all of its metrics in full precision.

    `best` and `tied_with_best` are booleans. `baseline` is the name of the row's baseline. The fingerprint after
    `test_rows` is equal for rows that were evaluated on the same data. `labelled_examples_max` and `threads` are
    columns only if the runs of a row differ in them. If a row used fewer labelled rows than requested, `shots.asked`,
    `shots.fewest` and `shots.most` (per label) are columns, likewise `icl.…` (per prompt) and `num_train_samples.…`.
    """
    metrics = {split: _metrics(comparison, split) for split in ("test", "validation")}
    ranges = any(len(set(row.labelled)) > 1 for row in comparison.rows)
    ours = ["name", "labelled_examples", *(["labelled_examples_max"] if ranges else []), "finished", "planned"]
    ours += ["recipe_id", "baseline", "test_rows", "judged_on"]  # words: fixed name
    ours += ["threads"] if len(comparison.threads) > 1 else []
    counted = list(dict.fromkeys(key for row in comparison.rows for key, taken in row.taken.items() if taken.is_short))
    header = [ours[0], *_setting_names(comparison.settings, ours)]
    header += [f"{short_name(key)}.{name}" for key in counted for name in _TAKEN]
    header += ours[1:]
    header += [f"{metric}.{name}" for metric in metrics["test"] for name in VALUES]
    header += [f"validation.{metric}.{figure}" for metric in metrics["validation"] for figure in ("mean", "std")]
    rows = []
    for index, row in enumerate(comparison.rows):
        cells: list[Any] = [row.name, *(_setting(row, setting, index) for setting in comparison.settings)]
        cells += [cell for key in counted for cell in _taken(row, key)]
        cells += [*_labelled(row, ranges), row.finished, len(row.runs)]
        cells += [None if comparison.grouped else row.runs[0].recipe_id, _baseline(comparison, index)]
        cells += _evaluated_rows(row)
        cells += [_threads(row)] if "threads" in ours else []
        cells += [figure for metric in metrics["test"] for figure in _test(comparison, index, metric)]
        cells += [cell for metric in metrics["validation"] for cell in _validation(row, metric)]
        rows.append(cells)
    return Columns(header, rows)


def run_columns(comparison: Comparison) -> Columns:
    """Return one row per run: its settings that vary, seed, status and metrics.

    Metrics of the test split are named `<name>`, those of the validation split `validation.<name>`.
    """
    metrics = {split: _metrics(comparison, split) for split in ("test", "validation")}
    before = ["name", "seed", "status"]
    figures = [*metrics["test"], *(f"validation.{metric}" for metric in metrics["validation"])]
    after = ["labelled_examples", "seconds", "error", "recipe_id", "id", "folder"]
    names = _setting_names(comparison.settings, [*before, *figures, *after])
    header = ["name", *names, *before[1:], *figures, *after]
    settings_of: dict[str, list[Any]] = {}
    for index, row in enumerate(comparison.rows):
        values = [_setting(row, setting, index) for setting in comparison.settings]
        settings_of |= {run.id: values for run in row.runs}
    rows = []
    for run in comparison.runs:
        cells: list[Any] = [run.name, *settings_of[run.id], run.seed, run.state]
        cells += [run.metrics(split).get(metric) for split, names in metrics.items() for metric in names]
        cells += [None, None] if run.result is None else [run.result.labelled_examples, run.result.seconds]
        cells += [run.error, run.recipe_id, run.id, str(run.folder.path)]
        rows.append(cells)
    return Columns(header, rows)


def _metrics(comparison: Comparison, split: str) -> list[str]:
    """Return the metrics that any row has, the shown metrics first."""
    available = dict.fromkeys(key for row in comparison.rows for key in row.metrics(split))
    return [
        *(key for key in comparison.metrics if key in available),
        *(key for key in available if key not in comparison.metrics),
    ]


def _setting_names(shown: Sequence[Setting], taken: Sequence[str]) -> Iterator[str]:
    for setting in shown:
        yield setting.key if setting.name in taken else setting.name


def _setting(row: Row, setting: Setting, index: int) -> Any:
    """Return the value of a setting, a number in full even if the table rounds it; None if the row has no value."""
    shown = setting.values[index]
    value = settings(row.runs[0].config).get(setting.key)
    if isinstance(value, int | float) and not isinstance(value, bool) and show(setting.key, value) == shown:
        return value
    return None if shown == ABSENT else shown


def _taken(row: Row, key: str) -> list[Any]:
    """Return the number of rows requested and used, per label or per prompt."""
    taken = row.taken.get(key)
    return [None] * len(_TAKEN) if taken is None else [taken.asked * taken.labels, taken.fewest, taken.most]


def _labelled(row: Row, ranges: bool) -> list[Any]:
    """Return the number of labelled examples; the smallest and the largest if the runs of any row differ."""
    if not row.labelled:
        return [None] * (1 + ranges)
    return [min(row.labelled), *([max(row.labelled)] if ranges else [])]


def _baseline(comparison: Comparison, index: int) -> str | None:
    baseline = comparison.baseline_of(index)
    return None if baseline is None else comparison.rows[baseline].name


def _evaluated_rows(row: Row) -> list[Any]:
    """Return the number of test rows and their fingerprint, each None if unknown."""
    counts = sorted(
        {run.result.rows["test"] for run in row.runs if run.result is not None and "test" in run.result.rows}
    )
    number = None if not counts else counts[0] if len(counts) == 1 else " or ".join(map(str, counts))
    evaluated = sorted(row.evaluated_rows())
    return [number, digest(canonical_json(evaluated), _FINGERPRINT_DIGITS) if evaluated else None]


def _threads(row: Row) -> str | None:
    """Return the number of CPU threads of its runs: `2`, or `1 or 2` if they differ."""
    numbers = {run.result.threads for run in row.runs if run.result is not None and run.result.threads is not None}
    return " or ".join(map(str, sorted(numbers))) or None


def _test(comparison: Comparison, index: int, metric: str) -> list[Any]:
    """Return the cells of a metric, in the order of `VALUES`."""
    values = values_of(comparison, index, metric)
    return [values[name] for name in VALUES]


def _validation(row: Row, metric: str) -> list[Any]:
    found = row.estimate(metric, "validation")
    return [None, None] if found is None else [found.mean, found.std]
