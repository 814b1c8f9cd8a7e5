"""The comparison as a table of cells, the same for the terminal and for Markdown."""

from __future__ import annotations

from typing import NamedTuple

from sft.report.rows import HEADLINE_METRICS, Comparison, Estimate, Row, Run


class Table(NamedTuple):
    """Header and rows of plain text; `best` are the (row, column) cells that hold a best value."""

    header: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]]


def comparison_table(comparison: Comparison) -> Table:
    """One row per configuration: what varies, labelled examples, metrics, number of finished runs.

    With a baseline, a column holds the difference of the leading metric to that row's.
    """
    shown = list(comparison.settings)
    header = [setting.name for setting in shown] or ["experiment"]
    leading = comparison.metrics[0] if comparison.metrics and comparison.baseline is not None else None
    header += ["labelled", *(HEADLINE_METRICS[key] for key in comparison.metrics)]
    header += [f"Δ {HEADLINE_METRICS[leading]}", "n"] if leading else ["n"]
    rows, best = [], set()
    for index, row in enumerate(comparison.rows):
        cells = [setting.values[index] for setting in shown] or [row.name]
        cells.append(_labelled(row))
        for key in comparison.metrics:
            if comparison.best.get(key) == index:
                best.add((index, len(cells)))
            cells.append(estimate(row.metrics.get(key)))
        if leading:
            cells.append(_difference(comparison, row, leading))
        cells.append(_finished(row))
        rows.append(cells)
    return Table(header, rows, best)


def runs_table(comparison: Comparison) -> Table:
    """One row per experiment: name, state, labelled examples, metrics, seconds."""
    header = [
        "experiment",
        "state",
        "labelled",
        *(HEADLINE_METRICS[key] for key in comparison.metrics),
        "seconds",
        "run",
    ]
    rows = []
    for run in comparison.runs:
        metrics = run.metrics()
        cells = [run.name, run.state, "-" if run.result is None else str(run.result.labelled_examples)]
        cells += [number(metrics.get(key)) for key in comparison.metrics]
        cells += [_seconds(run), run.folder.path.name]
        rows.append(cells)
    return Table(header, rows, set())


def estimate(value: Estimate | None) -> str:
    """`.655 ± .021`; without a spread for a single run."""
    if value is None:
        return "-"
    return number(value.mean) if value.std is None else f"{number(value.mean)} ± {number(value.std)}"


def number(value: float | None) -> str:
    """Three decimals without the leading zero; one decimal for figures on a scale to 100."""
    if value is None:
        return "-"
    if abs(value) >= 1.5:
        return f"{value:.1f}"
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _difference(comparison: Comparison, row: Row, metric: str) -> str:
    """The mean's difference to the baseline's, with its sign."""
    base = comparison.rows[comparison.baseline or 0].metrics.get(metric)
    mine = row.metrics.get(metric)
    if base is None or mine is None:
        return "-"
    difference = mine.mean - base.mean
    return f"{'+' if difference >= 0 else '-'}{number(abs(difference))}"


def _labelled(row: Row) -> str:
    counts = sorted(set(row.labelled))
    if not counts:
        return "-"
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"


def _finished(row: Row) -> str:
    total = len(row.runs)
    return str(total) if row.finished == total else f"{row.finished} of {total}"


def _seconds(run: Run) -> str:
    return "-" if run.result is None else f"{run.result.timings.get('total', 0.0):.1f}"
