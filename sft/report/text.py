"""The comparison on a terminal: aligned plain text, `*` at the best values."""

from __future__ import annotations

from sft.report.rows import Comparison
from sft.report.table import Table, comparison_table

_CONTROL = dict.fromkeys([*range(32), *range(127, 160)])


def render_text(comparison: Comparison) -> str:
    """The table, a legend when something is marked, and the runs that have no result."""
    table = comparison_table(comparison)
    lines = _aligned(table)
    if table.best:
        lines.append(_legend(comparison))
    for run in comparison.unfinished:
        lines.append(f"{run.state}: {_plain(run.name)}  {_plain(run.error)}  {run.folder.log_file}")
    return "\n".join(lines)


def _aligned(table: Table) -> list[str]:
    cells = [table.header] + [
        [f"{_plain(cell)} *" if (r, c) in table.best else _plain(cell) for c, cell in enumerate(row)]
        for r, row in enumerate(table.rows)
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _legend(comparison: Comparison) -> str:
    if comparison.chosen_on == "validation":
        return "* best on the validation split (the figures are of the test split)"
    return "* best mean of its column"


def _plain(text: str) -> str:
    """Text from data and logs without control characters: no escape sequence reaches the terminal."""
    return text.translate(_CONTROL)
