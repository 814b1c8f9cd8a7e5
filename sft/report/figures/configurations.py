"""Configurations as the rows of a figure: a short text for each, all different. Knows nothing of metrics."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from sft.config.varying import ABSENT
from sft.report.comparison import Comparison
from sft.report.figures.base import Spec
from sft.report.figures.settings import LONGEST_LABEL, short_labels

_STEPS = 22, 36  # pixels of a row: with a label of one line, and of two
_LINE = 30  # letters of a label's line
_LONGEST = 2 * _LINE
_LONGEST_VALUE = 20
_BREAK = "  "  # where a label goes on in a second line: names have single spaces


def row_labels(comparison: Comparison, rows: Sequence[int]) -> list[str]:
    """The names of some rows, where these are long what varies as `name=value`: all different, of two lines at most."""
    names = [comparison.rows[index].name for index in rows]
    if comparison.settings and max(map(len, names)) > LONGEST_LABEL:
        values = [(one.name, one.values, short_labels(one.values, _LONGEST_VALUE)) for one in comparison.settings]
        told = [
            [f"{name}={short[given[index]]}" for name, given, short in values if given[index] != ABSENT]
            for index in rows
        ]
        names = [" ".join(parts) or name for parts, name in zip(told, names, strict=True)]
    short = short_labels([" ".join(name.split()) for name in names], _LONGEST)
    taken: dict[str, int] = {}
    texts = []
    for name in (" ".join(name.split()) for name in names):
        taken[name] = taken.get(name, 0) + 1
        texts.append(_broken(short[name] if taken[name] == 1 else f"{short[name]} [{taken[name]}]"))
    return texts


def _broken(text: str) -> str:
    lines = textwrap.wrap(text, _LINE, break_long_words=False, break_on_hyphens=False)
    return text if len(lines) < 2 else f"{lines[0]}{_BREAK}{' '.join(lines[1:])}"


def rows_height(labels: Sequence[str]) -> int:
    """Of a figure with these rows, in pixels."""
    return _STEPS[any(_BREAK in label for label in labels)] * len(labels)


def row_axis(labels: Sequence[str]) -> Spec:
    """The y axis for records whose `row` is one of the texts, the first on top."""
    broken = {"test": f"indexof(datum.value, '{_BREAK}') >= 0", "value": "line-bottom"}
    look: Spec = {"grid": True, "ticks": False, "domain": False, "labelLimit": 230,
                  "labelExpr": f"split(datum.label, '{_BREAK}')",
                  "labelBaseline": {"condition": broken, "value": "middle"}}  # fmt: skip
    return {"field": "row", "type": "nominal", "title": None, "scale": {"domain": list(labels)}, "axis": look}
