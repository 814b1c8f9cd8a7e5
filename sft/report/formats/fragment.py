"""The comparison as an HTML fragment for a notebook's output cell. All text is escaped. It contains no script."""

from __future__ import annotations

from html import escape

from sft.log import plain
from sft.report.comparison import Comparison
from sft.report.formats.notes import notes
from sft.report.formats.subject import subject
from sft.report.formats.table import Table, comparison_table
from sft.report.formats.text import failures

MOST_ROWS = 500  # a notebook keeps its output in its file
# Without these classes Jupyter renders text between two "$" as mathematics.
_OPENING = '<div class="tex2jax_ignore mathjax_ignore">'


def render_fragment(comparison: Comparison) -> str:
    """Return the subject, the table, its notes, and the runs without a result.

    Best values are bold with `*`. Values that are not significantly different from the best are marked with `=`.
    """
    table = comparison_table(comparison)
    shown = table._replace(rows=table.rows[:MOST_ROWS])
    parts = [*map(_paragraph, subject(comparison)), _table(shown)]
    if (more := len(table.rows) - len(shown.rows)) > 0:
        parts.append(_paragraph(f"… and {more} more rows"))
    parts += map(_paragraph, notes(comparison, "*", "="))
    if lines := failures(comparison):
        parts.append(f"<pre>{_text(lines)}</pre>")
    return "\n".join([_OPENING, *parts, "</div>"])


def _table(table: Table) -> str:
    header = "".join(f"<th>{_text([name])}</th>" for name in table.header)
    lines = [f"<table>\n<thead><tr>{header}</tr></thead>\n<tbody>"]
    for number, row in enumerate(table.rows):
        cells = (_cell(table, number, column, text) for column, text in enumerate(row))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody>\n</table>"])


def _cell(table: Table, row: int, column: int, text: str) -> str:
    shown = _text([text])
    if (row, column) in table.best:
        return f"<td><b>{shown} *</b></td>"
    return f"<td>{shown} =</td>" if (row, column) in table.tied else f"<td>{shown}</td>"


def _paragraph(text: str) -> str:
    return f"<p>{_text([text])}</p>"


def _text(lines: list[str]) -> str:
    return "\n".join(escape(plain(line)) for line in lines)
