"""The comparison as GitHub-flavoured Markdown. Text from names and logs is escaped."""

from __future__ import annotations

import re

from sft.report.notes import notes
from sft.report.rows import Comparison
from sft.report.table import Table, comparison_table, runs_table


def render_markdown(comparison: Comparison) -> str:
    """Comparison, failures, every run, and how to read it."""
    done = sum(run.result is not None for run in comparison.runs)
    number = len(comparison.rows)
    configurations = "1 configuration" if number == 1 else f"{number} configurations"
    parts = [
        "# Comparison",
        f"{configurations}, {done} of {len(comparison.runs)} experiments done.",
        _table(comparison_table(comparison)),
        _how_to_read(comparison),
    ]
    if comparison.unfinished:
        parts += ["## Without a result", _failures(comparison)]
    parts += ["## Every experiment", _table(runs_table(comparison))]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    lines = ["| " + " | ".join(escape(cell) for cell in table.header) + " |", "|" + " --- |" * len(table.header)]
    for r, row in enumerate(table.rows):
        cells = [f"**{escape(cell)}**" if (r, c) in table.best else escape(cell) for c, cell in enumerate(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _failures(comparison: Comparison) -> str:
    lines = []
    for run in comparison.unfinished:
        parts = [f"- **{escape(run.name)}**: {'not run yet' if run.state == 'missing' else run.state}."]
        if run.error:
            parts.append(escape(run.error))
        if run.folder.log_file.exists():
            parts.append(f"Log: `runs/{run.folder.path.name}/log.txt`")
        lines.append(" ".join(parts))
    return "\n".join(lines)


def _how_to_read(comparison: Comparison) -> str:
    reading = (
        "Each row is one configuration: mean ± standard deviation (n - 1) over its seeds, `n` runs; `labelled` is the "
        "number of labelled examples that the recipe used in all. A difference smaller than the spread says little."
    )
    return "\n".join([reading, *map(escape, notes(comparison, "In bold: the"))])


def escape(text: str) -> str:
    """Text that cannot become a table cell's end, a link, an image, HTML or code."""
    flat = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text)
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|!#~])", r"\\\1", flat)
