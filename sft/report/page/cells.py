"""The comparison table of the page: columns to sort and filter by, cells with marks, and runs below each row.

All text is plain; the template escapes it and writes the HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from sft.config.varying import ABSENT
from sft.log import plain
from sft.report.comparison import Comparison, Row
from sft.report.formats.table import (
    THESE_MODELS,
    contrast_header,
    estimate,
    finished,
    is_tested,
    labelled,
    p_value,
)
from sft.report.metrics import best_of, number, signed, title
from sft.report.read.runs import Run
from sft.report.significance import Contrast, Interval
from sft.results.states import in_words

MOST_CHOICES = 12  # values of a setting with a drop-down filter
MOST_LINES = 2500  # rows and runs of a table with a hidden column for every other metric
MOST_HIDDEN = 40  # such hidden columns
MOST_SETTINGS = 2  # settings with a column on a narrow screen; with more, all but the first are shown below the first
NO_INTERVAL = {"ece": "no interval: its bootstrap is biased"}
_EXPERIMENT = "experiment"


@dataclass(frozen=True)
class Column:
    """A column: its key (in the page's address), header, tooltip, kind, and first sort order."""

    key: str
    title: str
    hint: str = ""
    kind: str = "metric"
    first: str = "ascending"
    hidden: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell.

    Args:
        text: the content.
        value: a number to sort by; empty for text and for missing values.
        small: small text below.
        best: whether it is a best value.
        tied: whether it is not significantly different from the best.
        sure: whether the difference below is significant.
        folded: text that a narrow screen shows below instead of other columns.
    """

    text: str
    value: str = ""
    small: str = ""
    best: bool = False
    tied: bool = False
    sure: bool = False
    folded: str = ""


@dataclass(frozen=True)
class RunLine:
    """A run below its row: its id, label, state, and cells after the first."""

    id: str
    label: str
    state: str
    cells: list[Cell]


@dataclass(frozen=True)
class Line:
    """A row: its name (empty if its first cell is the name), cells, remarks below, and runs."""

    index: int
    name: str
    cells: list[Cell]
    remarks: list[str]
    runs: list[RunLine]


@dataclass(frozen=True)
class Choice:
    """A setting to filter by: its column's key, name, and values."""

    key: str
    title: str
    values: list[str]


@dataclass(frozen=True)
class View:
    """The whole table. On a narrow screen its first `folded` columns are one column."""

    columns: list[Column]
    lines: list[Line]
    choices: list[Choice] = field(default_factory=list)
    folded: int = 0


def view_of(comparison: Comparison) -> View:
    """Return the table: varying settings (or name), labelled examples, metrics, baseline columns, number of runs."""
    columns = [*_setting_columns(comparison), *_figure_columns(comparison)]
    shown = _metrics(comparison)
    lines = [_line(comparison, index, shown) for index in range(len(comparison.rows))]
    return View(columns, lines, _choices(comparison), len(comparison.shown_settings) if _folds(comparison) else 0)


def _folds(comparison: Comparison) -> bool:
    return len(comparison.shown_settings) > MOST_SETTINGS


def _setting_columns(comparison: Comparison) -> Iterator[Column]:
    for setting in comparison.shown_settings:
        yield Column(f"setting.{setting.key}", plain(setting.name), setting.key, "setting")
    if comparison.shown_settings:
        yield Column("name", "name", "as in --baseline and --where", "setting", hidden=True)
    else:
        yield Column("name", _EXPERIMENT, "", "setting")


def _figure_columns(comparison: Comparison) -> Iterator[Column]:
    yield Column("labelled", "labelled", "all labelled examples that the recipe used", "count")
    for key, split, hidden in _metrics(comparison):
        name = title(key) + (" (validation)" if split == "validation" else "")
        low = best_of(key, (0.0, 1.0)) == 0.0
        first = "ascending" if low else "descending"
        yield Column(f"{split}.{key}", plain(name), "lower is better" if low else "", "metric", first, hidden)
    if _compared(comparison):
        leading = plain(title(comparison.metrics[0]))
        hint = f"difference in {leading} to the baseline, its 95 % interval and p: rows and seeds sampled, corrected"
        yield Column("difference", f"Δ {leading}", hint, "metric", "descending")
        if is_tested(comparison):
            hint = "p of the difference between these trained models on these test rows, seeds not sampled (Holm)"
            yield Column("these_models", THESE_MODELS, hint, "metric")
    yield Column("n", "n", "finished runs (seeds)", "count", "descending")


def _metrics(comparison: Comparison) -> list[tuple[str, str, bool]]:
    """Return metric, split and whether it is hidden at first, per column. Small tables have all metrics."""
    columns = [(key, "test", False) for key in comparison.metrics]
    if columns and comparison.chosen_on == "validation":
        columns.insert(0, (comparison.metrics[0], "validation", False))
    if len(comparison.rows) + len(comparison.runs) <= MOST_LINES:
        others = dict.fromkeys(key for row in comparison.rows for key in row.metrics() if key not in comparison.metrics)
        columns += [(key, "test", True) for key in list(others)[:MOST_HIDDEN]]
    return columns


def _compared(comparison: Comparison) -> bool:
    return bool(contrast_header(comparison))


def _choices(comparison: Comparison) -> list[Choice]:
    choices = []
    for setting in comparison.shown_settings:
        values = list(dict.fromkeys(value or "none" for value in setting.values))
        if 1 < len(values) <= MOST_CHOICES:
            choices.append(Choice(f"setting.{setting.key}", plain(setting.name), [plain(value) for value in values]))
    return choices


def _line(comparison: Comparison, index: int, shown: Sequence[tuple[str, str, bool]]) -> Line:
    row = comparison.rows[index]
    cells = [_setting(setting.values[index]) for setting in comparison.shown_settings]
    if _folds(comparison):
        cells[0] = replace(cells[0], folded=_folded(comparison, index))
    cells += [Cell(plain(row.name)), Cell(labelled(row), str(max(row.labelled, default="")))]
    cells += [_metric(comparison, index, key, split) for key, split, _ in shown]
    if _compared(comparison):
        cells.append(_difference(comparison, index))
        cells += [_these_models(comparison, index)] if is_tested(comparison) else []
    cells.append(Cell(finished(row), str(row.finished)))
    runs = [_run_line(comparison, row, run, shown) for run in row.runs]
    name = plain(row.name) if comparison.shown_settings else ""
    return Line(index, name, cells, list(_remarks(comparison, index)), runs)


def _setting(value: str) -> Cell:
    """Return the cell of a setting. `500 (86)` is sorted by the requested number, 500."""
    requested = re.fullmatch(r"(\d+) \([\d\- of]+\)", value)
    return Cell(plain(value or "none"), "" if requested is None else requested[1])


def _folded(comparison: Comparison, index: int) -> str:
    """Return all settings of a row except the first as one string, without absent settings."""
    values = [(setting.name, setting.values[index]) for setting in comparison.shown_settings[1:]]
    return plain(", ".join(f"{name}={value}" for name, value in values if value not in ("", ABSENT)))


def _metric(comparison: Comparison, index: int, key: str, split: str) -> Cell:
    found = comparison.rows[index].estimate(key, split)
    if found is None:
        return Cell("-")
    best = index in comparison.best.get(key, ())
    if split != "test":
        return Cell(estimate(found, key), repr(found.mean), best=best)
    significance = comparison.significance_of(index, key)
    tied = not best and bool(significance.tied_with_best)
    return Cell(estimate(found, key), repr(found.mean), _ends(significance.interval, key), best, tied)


def _ends(interval: Interval | None, key: str) -> str:
    return "" if interval is None else f"{number(interval.low, key)} to {number(interval.high, key)}"


def _difference(comparison: Comparison, index: int) -> Cell:
    """Return the difference to the baseline with its p; without a test the difference of the means."""
    leading = comparison.metrics[0]
    contrast = comparison.significance_of(index, leading).contrast
    if contrast is not None:
        below = ["" if contrast.p_holm is None else _p(contrast.p_holm), _ends(contrast.interval, leading)]
        text = signed(contrast.difference, leading)
        return Cell(text, repr(contrast.difference), ", ".join(filter(None, below)), sure=contrast.is_significant)
    if comparison.baseline_of(index) is None:
        return Cell("baseline" if comparison.is_baseline(index) else "-")
    difference = comparison.difference(index, leading)
    return Cell("-") if difference is None else Cell(signed(difference, leading), repr(difference))


def _these_models(comparison: Comparison, index: int) -> Cell:
    """Return the p of the test on the test rows alone."""
    contrast = comparison.significance_of(index, comparison.metrics[0]).contrast
    return Cell("-") if contrast is None else Cell(p_value(contrast.models.p_holm), repr(contrast.models.p_holm))


def _p(value: float) -> str:
    text = p_value(value)
    return f"p {text.replace('<', '< ')}" if text.startswith("<") else f"p = {text}"


def _remarks(comparison: Comparison, index: int) -> Iterator[str]:
    """Yield the remarks below a row: each metric with the method of its interval, and its tests in full."""
    baseline = comparison.baseline_of(index)
    against = "" if baseline is None else plain(comparison.rows[baseline].name)
    for key in comparison.metrics:
        found = comparison.rows[index].estimate(key)
        if found is None:
            continue
        significance = comparison.significance_of(index, key)
        parts = [f"{plain(title(key))} {estimate(found, key)}"]
        if significance.interval is not None:
            ends, method = _ends(significance.interval, key), plain(significance.interval.method)
            parts.append(f"95 % interval {ends} ({method})")
        elif key in NO_INTERVAL and comparison.significance_of(index, comparison.metrics[0]).interval is not None:
            parts.append(NO_INTERVAL[key])
        if significance.contrast is not None:
            parts.append(f"against {against} {_in_full(significance.contrast, key)}")
        if significance.tied_with_best and index not in comparison.best.get(key, ()):
            parts.append("not significantly different from the best")
        if significance.to_best is not None:
            gap = significance.to_best
            ends = f", {_ends(gap.interval, key)}" if gap.interval is not None else ""
            parts.append(f"difference to the best {signed(gap.difference, key)} ({_p(gap.p_holm)}{ends})")
        if len(parts) > 1:
            yield "; ".join(parts) + "."


def _in_full(contrast: Contrast, key: str) -> str:
    models = contrast.models
    parts = []
    if contrast.p_value is not None and contrast.p_holm is not None:
        parts.append(f"{plain(contrast.test)}: {_p(contrast.p_value)}, corrected {_p(contrast.p_holm)}")
    if contrast.interval is not None:
        parts.append(f"95 % interval {_ends(contrast.interval, key)}")
    parts.append(f"{THESE_MODELS} by {plain(models.test)}: {_p(models.p_value)}, after Holm {_p(models.p_holm)}")
    if contrast.effect_size is not None:
        parts.append(f"Cohen's d {number(contrast.effect_size)}")
    return f"{signed(contrast.difference, key)} ({'; '.join(parts)})"


def _run_line(comparison: Comparison, row: Row, run: Run, shown: Sequence[tuple[str, str, bool]]) -> RunLine:
    metrics = {"test": run.metrics(), "validation": run.metrics("validation")}
    cells = [Cell("")] * max(0, len(comparison.shown_settings) - 1)
    cells += [Cell(plain(run.name))] if comparison.shown_settings else []
    cells.append(Cell("-" if run.result is None else str(run.result.labelled_examples)))
    for key, split, _ in shown:
        interval = comparison.significance.runs.get((run.id, key)) if split == "test" else None
        cells.append(Cell(number(metrics[split].get(key), key), small=_ends(interval, key)))
    cells += [Cell("")] * (1 + is_tested(comparison)) if _compared(comparison) else []
    cells.append(Cell("" if run.state == "done" else in_words(run.state)))
    several = len({one.recipe_id for one in row.runs}) > 1
    label = plain(run.name) if several else "no seed" if run.is_fixed else f"seed {run.seed}"
    return RunLine(run.id, label, in_words(run.state), cells)
