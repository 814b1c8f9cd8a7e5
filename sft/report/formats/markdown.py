"""The comparison as GitHub-flavoured Markdown. Text from names and logs is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sft.log import plain
from sft.report.comparison import Comparison
from sft.report.formats.notes import notes
from sft.report.formats.subject import subject
from sft.report.formats.table import Table, comparison_table, runs_table
from sft.report.read.failures import log_tail
from sft.report.read.runs import Run
from sft.results.states import in_words

MOST_TAILS = 100  # logs whose end is shown; aggregated_results.json holds all
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_BARE_LINK = re.compile(r"(?:https?|ftp)://|www\.", re.IGNORECASE)  # GitHub turns these into links


def render_markdown(comparison: Comparison) -> str:
    """Return the comparison, how to read it, the failures, and every run."""
    done = sum(run.result is not None for run in comparison.runs)
    number = len(comparison.rows)
    configurations = "1 configuration" if number == 1 else f"{number} configurations"
    parts = [
        "# Comparison",
        "\n".join(
            [*map(escape, subject(comparison)), f"{configurations}, {done} of {len(comparison.runs)} experiments done."]
        ),
        _table(comparison_table(comparison, intervals=True)),
        _how_to_read(comparison),
    ]
    if comparison.unfinished:
        parts += ["## Without a result", _failures(comparison)]
    parts += ["## Every experiment", _table(runs_table(comparison))]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    lines = ["| " + " | ".join(escape(cell) for cell in table.header) + " |", "|" + " --- |" * len(table.header)]
    for r, row in enumerate(table.rows):
        cells = [_marked(escape(cell), table, (r, c)) for c, cell in enumerate(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _marked(cell: str, table: Table, index: tuple[int, int]) -> str:
    if index in table.best:
        return f"**{cell}**"
    return f"{cell} =" if index in table.tied else cell


def _failures(comparison: Comparison) -> str:
    """Return a list entry for each run without a result. The first entries with a log show its end."""
    entries, shown = [], 0
    for run in comparison.unfinished:
        entry = f"- **{escape(run.name)}**: {in_words(run.state)}."
        if run.error:
            entry += f" {escape(run.error)}"
        if run.folder.log_file.exists():
            entry += f" · Log: `{_folder(comparison, run)}/log.txt`"
            if shown < MOST_TAILS and (tail := log_tail(run.folder)):
                shown += 1
                entry += _tail(tail)
        entries.append(entry)
    return "\n".join(entries)


def _folder(comparison: Comparison, run: Run) -> str:
    """Return the run's folder relative to the report, without backticks, which would end the code span."""
    return run.path_from(comparison.folder).replace("`", "'")


def _tail(lines: Sequence[str]) -> str:
    """Return lines of a log, collapsed, in a fence longer than any fence in them, so that no line is interpreted.

    They are indented to belong to the list entry above.
    """
    text = "\n".join(lines)
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`+", text))])
    block = ["<details><summary>The end of its log</summary>", "", f"{fence}text", *lines, fence, "", "</details>"]
    return "\n\n" + "\n".join(f"  {line}".rstrip() for line in block) + "\n"


def _how_to_read(comparison: Comparison) -> str:
    reading = (
        "Each row is one configuration: mean ± standard deviation (n - 1) over its seeds, `n` runs. `labelled` is the "
        "number of all labelled examples that the recipe used."
    )
    marks = "\n".join([reading, *map(escape, notes(comparison, "In bold: the", "="))])
    methods = "\n".join(f"- {escape(sentence)}" for sentence in comparison.significance.methods)
    return f"{marks}\n\n{methods}" if methods else marks


def escape(text: str) -> str:
    """Escape text: it cannot end a table cell, change direction, or become a link, image, HTML, code or mathematics."""
    flat = plain(_BREAKS.sub(" ", text)).strip()  # Markdown does not end bold text after a space
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    flat = re.sub(r"([\\`*_\[\]|!#~$])", r"\\\1", flat)
    return _BARE_LINK.sub(lambda found: found[0].replace(":", "&#58;").replace(".", "&#46;"), flat)
