"""The comparison as a table of cells, the same for the terminal, Markdown and LaTeX."""

from __future__ import annotations

import re
from typing import NamedTuple

from sft.report.comparison import Comparison, Estimate, Row
from sft.report.metrics import number, signed, title
from sft.report.read.runs import Run
from sft.report.read.taken import span
from sft.report.significance import Interval
from sft.results.states import in_words

BASELINE = "baseline"
THESE_MODELS = "these models"  # the test on rows alone


class Table(NamedTuple):
    """Header and rows of plain text.

    Args:
        header: the names of the columns.
        rows: the cells.
        best: the (row, column) of each best value.
        tied: the (row, column) of each value that is not significantly different from the best.
    """

    header: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]]
    tied: set[tuple[int, int]]


class _Column(NamedTuple):
    """A column that shows a metric on a split."""

    metric: str
    split: str
    header: str


def comparison_table(comparison: Comparison, intervals: bool = False) -> Table:
    """Return one row per configuration: varying settings, labelled examples, metrics, and number of finished runs.

    If the best is chosen on the validation split, a column shows the leading metric on it. If rows are compared with a
    baseline, columns show the difference in the leading metric, its p for the recipes (rows and seeds sampled) and its
    p for these models (rows alone), both corrected.

    Args:
        comparison: the comparison to show.
        intervals: show the 95 % intervals of the leading metric and of its differences.
    """
    shown = list(comparison.shown_settings)
    columns = _columns(comparison)
    after = [column.header for column in columns]
    interval_index = next((n for n, column in enumerate(columns) if column.split == "test"), 0) + 1
    wide = intervals
    if intervals := intervals and _has_intervals(comparison):
        after.insert(interval_index, "95 % interval")
    named = not shown or not all(_is_made(row.name) for row in comparison.rows)
    header = [*(["experiment"] if named else []), *(setting.name for setting in shown)]
    contrasts = contrast_header(comparison, wide)
    header += ["labelled", *after, *contrasts, "n"]
    rows, best, tied = [], set(), set()
    for index, row in enumerate(comparison.rows):
        own = [row.name if not shown or not _is_made(row.name) else "-"] if named else []
        cells = [*own, *(setting.values[index] or "none" for setting in shown)]
        cells.append(labelled(row))
        for number_, column in enumerate(columns):
            if index in comparison.best.get(column.metric, ()):
                best.add((index, len(cells)))
            elif column.split == "test" and comparison.significance_of(index, column.metric).tied_with_best:
                tied.add((index, len(cells)))
            cells.append(estimate(row.estimate(column.metric, column.split), column.metric))
            if intervals and number_ == interval_index - 1:
                cells.append(interval(comparison.significance_of(index, column.metric).interval, column.metric))
        rows.append([*cells, *_contrast(comparison, index, wide)[: len(contrasts)], finished(row)])
    return Table(header, rows, best, tied)


def _is_made(name: str) -> bool:
    """Whether a name lists settings, as names from `grid` do. Names that the user chose are shown in a column."""
    return re.match(r"[\w. ]+=", name) is not None


def _columns(comparison: Comparison) -> list[_Column]:
    columns = [_Column(key, "test", title(key)) for key in comparison.metrics]
    if comparison.chosen_on == "validation" and columns:
        leading = columns[0]
        columns.insert(0, _Column(leading.metric, "validation", f"{leading.header} (validation)"))
    return columns


def _has_intervals(comparison: Comparison) -> bool:
    leading = comparison.metrics[0] if comparison.metrics else ""
    return any(comparison.significance_of(index, leading).interval for index in range(len(comparison.rows)))


def runs_table(comparison: Comparison) -> Table:
    """Return one row per experiment: name, state, labelled examples, metrics, seconds."""
    header = [
        "experiment",
        "state",
        "labelled",
        *map(title, comparison.metrics),
        "seconds",
        "run",
    ]
    rows = []
    for run in comparison.runs:
        metrics = run.metrics()
        cells = [run.name, in_words(run.state), "-" if run.result is None else str(run.result.labelled_examples)]
        cells += [number(metrics.get(key), key) for key in comparison.metrics]
        cells += [_seconds(run), run.folder.path.name]
        rows.append(cells)
    return Table(header, rows, set(), set())


def estimate(value: Estimate | None, metric: str = "") -> str:
    """Return `.655 ± .021`, both on the metric's scale; without a standard deviation for a single run."""
    if value is None:
        return "-"
    mean = number(value.mean, metric)
    return mean if value.std is None else f"{mean} ± {number(value.std, metric)}"


def interval(value: Interval | None, metric: str = "") -> str:
    """Return `.641 to .669`."""
    return "-" if value is None else f"{number(value.low, metric)} to {number(value.high, metric)}"


def p_value(value: float | None) -> str:
    """Return `.034`, `<.001` or `-`."""
    return "-" if value is None else "<.001" if value < 0.0005 else number(value)


def contrast_header(comparison: Comparison, intervals: bool = False) -> list[str]:
    """Return the headers of the difference to the baseline and its tests; empty without a comparison."""
    if not comparison.metrics or not comparison.has_baseline:
        return []
    tested = is_tested(comparison)
    if not tested and not comparison.baseline_named:
        return []
    tests = ["95 % interval of Δ", "p", THESE_MODELS] if intervals else ["p", THESE_MODELS]
    return [f"Δ {title(comparison.metrics[0])}", *(tests if tested else [])]


def is_tested(comparison: Comparison) -> bool:
    """Whether some row's leading metric was tested against the baseline."""
    indices = range(len(comparison.rows))
    return any(comparison.significance_of(index, comparison.metrics[0]).contrast is not None for index in indices)


def _contrast(comparison: Comparison, index: int, intervals: bool) -> list[str]:
    """Return the difference to the baseline and its tests; `-` for rows evaluated on other data."""
    if not comparison.metrics:
        return []
    leading = comparison.metrics[0]
    contrast = comparison.significance_of(index, leading).contrast
    if contrast is None:
        return [_difference(comparison, index, leading), *["-"] * (3 if intervals else 2)]
    tests = [p_value(contrast.p_holm), p_value(contrast.models.p_holm)]
    ends = [interval(contrast.interval, leading)] if intervals else []
    return [signed(contrast.difference, leading), *ends, *tests]


def _difference(comparison: Comparison, index: int, metric: str) -> str:
    if comparison.baseline_of(index) is None and comparison.is_baseline(index):
        return BASELINE
    difference = comparison.difference(index, metric)
    return "-" if difference is None else signed(difference, metric)


def labelled(row: Row) -> str:
    """How many labelled examples its runs used: `48`, or `44-48`."""
    return span(min(row.labelled), max(row.labelled)) if row.labelled else "-"


def finished(row: Row) -> str:
    """How many of its runs have a result: `3`, or `2 of 3`."""
    total = len(row.runs)
    return str(total) if row.finished == total else f"{row.finished} of {total}"


def _seconds(run: Run) -> str:
    return "-" if run.result is None else f"{run.result.seconds:.1f}"
