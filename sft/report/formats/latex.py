r"""The comparison as a LaTeX table (booktabs): varying settings, metrics as mean ± std, an interval, best bold, ties
marked. The caption is short. Comments above the table state how the figures were computed.

Text from configs and names is escaped: it cannot become a command, mathematics, a comment or a further column.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from sft.log import some
from sft.report.comparison import Comparison
from sft.report.formats.notes import DETAILS, notes
from sft.report.formats.subject import subject
from sft.report.formats.table import BASELINE, comparison_table
from sft.report.metrics import title

MOST_ROWS = 40  # on one page
MOST_SUBJECTS = 2  # data sets that the caption names
LABEL = "tab:sft"
_TIE = r"$^{\dagger}$"
_APART = "\u2060"  # keeps two hyphens apart until everything else is escaped: TeX would make a dash of them
_ESCAPED = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\symbol{34}", "`": r"\symbol{96}",
    # at the start of a table line, TeX would take these for arguments of the "\\" before
    "[": "{[}", "]": "{]}", "*": "{*}",
    # our own characters that LaTeX knows only by name
    "±": r"$\pm$", "Δ": r"$\Delta$", "−": "$-$", "·": r"$\cdot$",  # noqa: RUF001
    _APART: "{}",
})  # fmt: skip


def render_latex(comparison: Comparison) -> str:
    r"""Return a `table` (for many rows a `longtable`) with a short caption, for `\input`; the rest as comments."""
    table = comparison_table(comparison, intervals=True)
    # The columns before "labelled" hold the user's text; all others hold ours.
    ours = len(table.header) - 1 - table.header[::-1].index("labelled")
    lines = []
    for r, row in enumerate(table.rows):
        if comparison.rows[r].finished:
            figures = [_figure(cell, (r, c) in table.best, (r, c) in table.tied) for c, cell in enumerate(row)]
            lines.append([*map(escape, row[:ours]), *figures[ours:]])
    head, *body = [f"    {' & '.join(cells)} \\\\" for cells in ([escape(name) for name in table.header], *lines)]
    is_long = len(body) > MOST_ROWS
    columns = "l" * ours + "r" * (len(table.header) - ours)
    caption = rf"\caption{{{_caption(comparison, bool(table.tied))}}}\label{{{LABEL}}}"
    made = (_longtable if is_long else _table)(columns, caption, head, body)
    return "\n".join([*_comments(comparison, is_long), *made, ""])


def _table(columns: str, caption: str, head: str, body: Sequence[str]) -> list[str]:
    return [
        r"\begin{table}", r"  \centering", f"  {caption}", rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule", head, r"    \midrule", *body, r"    \bottomrule", r"  \end{tabular}", r"\end{table}",
    ]  # fmt: skip


def _longtable(columns: str, caption: str, head: str, body: Sequence[str]) -> list[str]:
    """Return a table over several pages, each with the header."""
    top = [r"    \toprule", head, r"    \midrule"]
    return [
        rf"\begin{{longtable}}{{{columns}}}", f"  {caption}\\\\", *top, r"  \endfirsthead", *top, r"  \endhead",
        r"    \bottomrule", r"  \endfoot", *body, r"\end{longtable}",
    ]  # fmt: skip


def _comments(comparison: Comparison, is_long: bool) -> Iterator[str]:
    """Yield comments: required packages, rows that are left out, and how the figures were computed."""
    packages = "booktabs,longtable" if is_long else "booktabs"
    scripts = "text in other scripts than Latin needs XeLaTeX or LuaLaTeX"
    yield rf"% Needs \usepackage{{{packages}}} in the preamble; {scripts}."
    if unfinished := [row.name for row in comparison.rows if not row.finished]:
        yield _comment(f"Left out, since no run has finished: {some(unfinished)}.")
    sentences = [*notes(comparison, "Bold:", "a dagger:"), *comparison.significance.methods]
    yield _comment("labelled: all labelled examples that the recipe used; n: finished runs.")
    yield from map(_comment, sentences)
    if len(lines := subject(comparison)) > MOST_SUBJECTS:
        yield from map(_comment, lines)


def _comment(text: str) -> str:
    """Return a comment on one line: no character of the text can end the line."""
    return f"% {' '.join(''.join(map(_printed, text)).split())}"


def escape(text: str) -> str:
    """Escape text for TeX, on one line. Characters that do not print are left out."""
    shown = " ".join("".join(map(_printed, text)).split())
    return re.sub("-(?=-)", f"-{_APART}", shown).translate(_ESCAPED)


def _printed(character: str) -> str:
    kind = unicodedata.category(character)
    if kind.startswith("Z") or character.isspace():
        return " "
    return "" if kind.startswith("C") else character


def _figure(cell: str, best: bool, tied: bool) -> str:
    r"""Return `\textbf{.655} {\scriptsize$\pm$ .021}`, with a minus before negative numbers and a dash for none."""
    if cell in ("-", BASELINE):
        return "--" if cell == "-" else cell
    mean, plus_minus, std = cell.partition(" ± ")
    if re.fullmatch(r"\d+-\d+", mean):
        return mean.replace("-", "--")
    text = escape(re.sub(r"(?<!\S)-", "−", mean))  # noqa: RUF001
    if best:
        text = rf"\textbf{{{text}}}"
    if tied:
        text += _TIE
    return rf"{text} {{\scriptsize$\pm$ {escape(std)}}}" if plus_minus else text


def _caption(comparison: Comparison, has_ties: bool) -> str:
    """Return the caption: metrics, data, number of seeds, and the meaning of the marks."""
    what = ", ".join(map(title, comparison.metrics)) or "no figures yet"
    lines = subject(comparison)
    of = f" on {'; '.join(lines)}" if 0 < len(lines) <= MOST_SUBJECTS else " on several data sets" if lines else ""
    parts = [escape(f"{what[:1].upper()}{what[1:]}{of}{_over_seeds(comparison)}.")]
    if comparison.best:
        on_validation = " on the validation split (columns without that word are of the test split)"
        where = on_validation if comparison.chosen_on == "validation" else ""
        tie = rf"; {_TIE} not significantly different from it" if has_ties else ""
        parts.append(f"Bold: best mean{where}{tie}.")
    of_baseline = [note.removesuffix(DETAILS) for note in notes(comparison, "", "") if note.startswith("Δ")]
    return " ".join([*parts, *map(escape, of_baseline)])


def _over_seeds(comparison: Comparison) -> str:
    runs = {row.finished for row in comparison.rows if row.finished}
    if not runs or max(runs) == 1:
        return "; single runs" if runs else ""
    over = "runs of a group" if comparison.grouped else "seeds"
    return f"; mean ± standard deviation over {'up to ' if len(runs) > 1 else ''}{max(runs)} {over}"
