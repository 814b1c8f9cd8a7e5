r"""The comparison as a LaTeX table (booktabs): what varies, the shown metrics as mean ± std, best bold, ties marked.

Text from configs and names is escaped: no command, no mathematics, no comment, no further column. Knows nothing of
files, and runs no TeX.
"""

from __future__ import annotations

import re
import unicodedata

from sft.report.comparison import Comparison
from sft.report.notes import notes
from sft.report.table import BASELINE, comparison_table

_TIE = r"$^{\dagger}$"
_PLACE = "\ufffc"  # where the mark is to stand in sentences that are yet to be escaped
_APART = "\u2060"  # between two hyphens, until all else is escaped: without it they would be a dash
_ESCAPED = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\symbol{34}", "`": r"\symbol{96}",
    # at the beginning of a line of the table these would be arguments of the end of the line before it
    "[": "{[}", "]": "{]}", "*": "{*}",
    # signs of ours that LaTeX knows by name only
    "±": r"$\pm$", "Δ": r"$\Delta$", "−": "$-$",  # noqa: RUF001
    _APART: "{}",
})  # fmt: skip
_HEAD = r"""% Needs \usepackage{booktabs} in the preamble; text in other scripts than Latin needs XeLaTeX or LuaLaTeX.
\begin{table}
  \centering"""


def render_latex(comparison: Comparison) -> str:
    r"""A `table` with its caption, to be `\input` as it is."""
    table = comparison_table(comparison)
    ours = max(1, len(comparison.settings))  # columns of settings; in the others the text is ours
    lines = [[escape(name) for name in table.header]]
    for r, row in enumerate(table.rows):
        figures = [_figure(cell, (r, c) in table.best, (r, c) in table.tied) for c, cell in enumerate(row) if c >= ours]
        lines.append([*map(escape, row[:ours]), *figures])
    head, *body = [f"    {' & '.join(cells)} \\\\" for cells in lines]
    columns = "l" * ours + "r" * (len(table.header) - ours)
    begin, end = rf"  \begin{{tabular}}{{{columns}}}", "  \\end{tabular}\n\\end{table}\n"
    caption = rf"  \caption{{{_caption(comparison)}}}"
    return "\n".join([_HEAD, caption, begin, r"    \toprule", head, r"    \midrule", *body, r"    \bottomrule", end])


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
    text = escape(mean.replace("-", "−", 1) if mean.startswith("-") else mean)  # noqa: RUF001
    if best:
        text = rf"\textbf{{{text}}}"
    if tied:
        text += _TIE
    return rf"{text} {{\scriptsize$\pm$ {escape(std)}}}" if plus_minus else text


def _caption(comparison: Comparison) -> str:
    """How to read it, and how it was made."""
    reading = "Mean ± standard deviation over seeds (n runs); labelled: labelled examples that the recipe used in all."
    said = [reading, *notes(comparison, "Bold:", _PLACE), *comparison.significance.methods]
    return f" {_TIE} ".join(escape(part) for part in " ".join(said).split(_PLACE))
