"""The comparison on a terminal: aligned plain text, `*` for best values, `=` for values not significantly different."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sft.log import plain, some
from sft.report.comparison import Comparison
from sft.report.formats.notes import notes
from sft.report.formats.table import Table, comparison_table
from sft.report.read.runs import Run
from sft.results.states import in_words

MOST_FAILURES = 20  # shown one by one


def render_text(comparison: Comparison) -> str:
    """Return the table, its notes, and the runs without a result."""
    table = "\n".join([*aligned(_marked(comparison_table(comparison))), *notes(comparison, "*", "=")])
    lines = failures(comparison)
    return f"{table}\n\n" + "\n".join(lines) if lines else table


def failures(comparison: Comparison) -> list[str]:
    """Return lines on the runs without a result: why each failed, and how many have not run yet."""
    failed = [run for run in comparison.unfinished if run.state != "missing"]
    lines = [line for run in failed[:MOST_FAILURES] for line in _failure(run)]
    if (more := len(failed) - MOST_FAILURES) > 0:
        lines.append(f"… and {more} more without a result: aggregated_results.md lists all of them")
    if missing := [run.name for run in comparison.unfinished if run.state == "missing"]:
        lines.append(f"{len(missing)} not run yet: {some(missing)}")
    return lines


def _failure(run: Run) -> list[str]:
    """Return a line with state, name and reason, and a line with the path of the log."""
    line = f"{in_words(run.state).capitalize()}: {plain(run.name)}"
    if run.error:
        line += f" ({plain(run.error)})"
    return [line, f"  {run.folder.log_file}"] if run.folder.log_file.exists() else [line]


def _marked(table: Table) -> list[list[str]]:
    rows = [[cell + _mark(table, r, c) for c, cell in enumerate(row)] for r, row in enumerate(table.rows)]
    return [table.header, *rows]


def aligned(lines: Sequence[Sequence[str]], stripped: bool = True) -> Iterator[str]:
    """Lines of cells with aligned columns, without control characters; `stripped`: without spaces at their ends."""
    from rich.cells import cell_len

    cleaned = [[plain(cell) for cell in line] for line in lines]
    widths = [max(map(cell_len, column)) for column in zip(*cleaned, strict=True)]
    for line in cleaned:
        text = "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        yield text.rstrip() if stripped else text


def _mark(table: Table, row: int, column: int) -> str:
    return " *" if (row, column) in table.best else " =" if (row, column) in table.tied else ""
