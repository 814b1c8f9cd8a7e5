r"""The comparison as a LaTeX table (booktabs): what varies, metrics as mean ± std, an interval, best bold, ties
marked. The caption is short; how the figures were made stands above the table as comments.

Text from configs and names is escaped: no command, no mathematics, no comment, no further column. Knows nothing of
files, and runs no TeX.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from sft.log import some
from sft.report.comparison import Comparison
from sft.report.formats.notes import notes
from sft.report.formats.subject import subject
from sft.report.formats.table import BASELINE, comparison_table
from sft.report.metrics import title

MOST_ROWS = 40  # on one page
MOST_SUBJECTS = 2  # data sets that the caption names
LABEL = "tab:sft"
_TIE = r"$^{\dagger}$"
_APART = "\u2060"  # between two hyphens, until all else is escaped: without it they would be a dash
_ESCAPED = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\symbol{34}", "`": r"\symbol{96}",
    # at the beginning of a line of the table these would be arguments of the end of the line before it
    "[": "{[}", "]": "{]}", "*": "{*}",
    # signs of ours that LaTeX knows by name only
    "±": r"$\pm$", "Δ": r"$\Delta$", "−": "$-$", "·": r"$\cdot$",  # noqa: RUF001
    _APART: "{}",
})  # fmt: skip


def render_latex(comparison: Comparison) -> str:
    r"""A `table` (of many rows a `longtable`) with a short caption, to be `\input` as it is; the rest as comments."""
    table = comparison_table(comparison, intervals=True)
    ours = len(table.header) - 1 - table.header[::-1].index("labelled")  # columns before it; in the others text is ours
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
    """Over several pages, each with the header."""
    top = [r"    \toprule", head, r"    \midrule"]
    return [
        rf"\begin{{longtable}}{{{columns}}}", f"  {caption}\\\\", *top, r"  \endfirsthead", *top, r"  \endhead",
        r"    \bottomrule", r"  \endfoot", *body, r"\end{longtable}",
    ]  # fmt: skip


def _comments(comparison: Comparison, is_long: bool) -> Iterator[str]:
    """What is needed, what is not in the table, and how its figures were made."""
    packages = "booktabs,longtable" if is_long else "booktabs"
    scripts = "text in other scripts than Latin needs XeLaTeX or LuaLaTeX"
    yield rf"% Needs \usepackage{{{packages}}} in the preamble; {scripts}."
    if lacking := [row.name for row in comparison.rows if not row.finished]:
        yield _comment(f"Left out, since no run has finished: {some(lacking)}.")
    said = [*notes(comparison, "Bold:", "a dagger:"), *comparison.significance.methods]
    yield from map(_comment, ["labelled: labelled examples that the recipe used in all; n: finished runs.", *said])
    if len(lines := subject(comparison)) > MOST_SUBJECTS:
        yield from map(_comment, lines)


def _comment(text: str) -> str:
    """A comment ends with its line: nothing in the text ends that."""
    return f"% {' '.join(''.join(map(_printed, text)).split())}"


def escape(text: str) -> str:
    """Text that is only text to TeX, on one line; what does not print is left out."""
    shown = " ".join("".join(map(_printed, text)).split())
    return re.sub("-(?=-)", f"-{_APART}", shown).translate(_ESCAPED)


def _printed(sign: str) -> str:
    kind = unicodedata.category(sign)
    if kind.startswith("Z") or sign.isspace():
        return " "
    return "" if kind.startswith("C") else sign


def _figure(cell: str, best: bool, tied: bool) -> str:
    r"""`\textbf{.655} {\scriptsize$\pm$ .021}`; a minus and not a hyphen before a number, a dash for none."""
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
    """What is shown, of what, over how many seeds, and what the marks mean."""
    what = ", ".join(map(title, comparison.metrics)) or "no figures yet"
    lines = subject(comparison)
    of = f" on {'; '.join(lines)}" if 0 < len(lines) <= MOST_SUBJECTS else " on several data sets" if lines else ""
    parts = [escape(f"{what[:1].upper()}{what[1:]}{of}{_over_seeds(comparison)}.")]
    if comparison.best:
        on_validation = " on the validation split (columns without that word are of the test split)"
        where = on_validation if comparison.chosen_on == "validation" else ""
        apart = rf"; {_TIE} cannot be told apart from it" if has_ties else ""
        parts.append(f"Bold: best mean{where}{apart}.")
    return " ".join([*parts, *(escape(note) for note in notes(comparison, "", "") if note.startswith("Δ"))])


def _over_seeds(comparison: Comparison) -> str:
    runs = {row.finished for row in comparison.rows if row.finished}
    if not runs or max(runs) == 1:
        return "; single runs" if runs else ""
    over = "runs of a group" if comparison.grouped else "seeds"
    return f"; mean ± standard deviation over {'up to ' if len(runs) > 1 else ''}{max(runs)} {over}"
