"""The comparison as a table of cells, the same for the terminal and for Markdown."""

from __future__ import annotations

from typing import NamedTuple

from sft.report.failures import in_words
from sft.report.metrics import number, signed, title
from sft.report.rows import Comparison, Estimate, Row
from sft.report.runs import Run


class Table(NamedTuple):
    """Header and rows of plain text; `best` are the (row, column) cells that hold a best value."""

    header: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]]


class _Column(NamedTuple):
    """A metric on a split, as a column."""

    metric: str
    split: str
    header: str


def comparison_table(comparison: Comparison) -> Table:
    """One row per configuration: what varies, labelled examples, metrics, number of finished runs.

    Where the best is chosen on the validation split, a column holds the leading metric on it. With a baseline, a column
    holds the difference of the leading metric to that row's.
    """
    shown = list(comparison.settings)
    columns = _columns(comparison)
    leading = comparison.metrics[0] if comparison.metrics and comparison.baseline is not None else None
    header = [setting.name for setting in shown] or ["experiment"]
    header += ["labelled", *(column.header for column in columns)]
    header += [f"Δ {title(leading)}", "n"] if leading else ["n"]
    rows, best = [], set()
    for index, row in enumerate(comparison.rows):
        cells = [setting.values[index] or "none" for setting in shown] or [row.name]
        cells.append(_labelled(row))
        for column in columns:
            if index in comparison.best.get(column.metric, ()):
                best.add((index, len(cells)))
            cells.append(estimate(row.estimate(column.metric, column.split), column.metric))
        if leading:
            cells.append(_difference(comparison, row, leading))
        cells.append(_finished(row))
        rows.append(cells)
    return Table(header, rows, best)


def _columns(comparison: Comparison) -> list[_Column]:
    columns = [_Column(key, "test", title(key)) for key in comparison.metrics]
    if comparison.chosen_on == "validation" and columns:
        leading = columns[0]
        columns.insert(0, _Column(leading.metric, "validation", f"{leading.header} (validation)"))
    return columns


def runs_table(comparison: Comparison) -> Table:
    """One row per experiment: name, state, labelled examples, metrics, seconds."""
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
    return Table(header, rows, set())


def estimate(value: Estimate | None, metric: str = "") -> str:
    """`.655 ± .021`, both on the metric's scale; without a spread for a single run."""
    if value is None:
        return "-"
    mean = number(value.mean, metric)
    return mean if value.std is None else f"{mean} ± {number(value.std, metric)}"


def _difference(comparison: Comparison, row: Row, metric: str) -> str:
    """The mean's difference to the baseline's, with its sign; none between rows judged on different data."""
    baseline = comparison.rows[comparison.baseline or 0]
    base, mine = baseline.estimate(metric), row.estimate(metric)
    if base is None or mine is None or len(baseline.judged_rows() | row.judged_rows()) > 1:
        return "-"
    return signed(mine.mean - base.mean, metric)


def _labelled(row: Row) -> str:
    counts = sorted(set(row.labelled))
    if not counts:
        return "-"
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"


def _finished(row: Row) -> str:
    total = len(row.runs)
    return str(total) if row.finished == total else f"{row.finished} of {total}"


def _seconds(run: Run) -> str:
    return "-" if run.result is None else f"{run.result.seconds:.1f}"
