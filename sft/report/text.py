"""The comparison on a terminal: aligned plain text, `*` at the best values."""

from __future__ import annotations

from sft.log import plain
from sft.report.notes import notes
from sft.report.rows import Comparison
from sft.report.runs import Run
from sft.report.table import Table, comparison_table

NAMED = 8  # runs that are named in one line


def render_text(comparison: Comparison) -> str:
    """The table, how the best was chosen, and the runs that have no result."""
    lines = [*_aligned(comparison_table(comparison)), *notes(comparison, "*")]
    lines += [_failure(run) for run in comparison.unfinished if run.state != "missing"]
    if missing := [plain(run.name) for run in comparison.unfinished if run.state == "missing"]:
        more = ", …" if len(missing) > NAMED else ""
        lines.append(f"{len(missing)} not run yet: {', '.join(missing[:NAMED])}{more}")
    return "\n".join(lines)


def _failure(run: Run) -> str:
    parts = [f"{run.state}: {plain(run.name)}", plain(run.error)]
    if run.folder.log_file.exists():
        parts.append(str(run.folder.log_file))
    return "  ".join(part for part in parts if part)


def _aligned(table: Table) -> list[str]:
    cells = [table.header] + [
        [f"{plain(cell)} *" if (r, c) in table.best else plain(cell) for c, cell in enumerate(row)]
        for r, row in enumerate(table.rows)
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
