"""Configurations as the rows of a figure: a short, unique label for each."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from sft.config.varying import ABSENT
from sft.report.comparison import Comparison
from sft.report.figures.base import Spec
from sft.report.figures.settings import LONGEST_LABEL, short_labels

_STEPS = 22, 36  # pixels of a row whose label has one line, and two lines
_LINE = 30  # characters of a line of a label
_LONGEST = 2 * _LINE
_LONGEST_VALUE = 20
_BREAK = "  "  # starts the second line of a label; names have single spaces


def row_labels(comparison: Comparison, rows: Sequence[int]) -> list[str]:
    """Return unique labels of rows, of at most two lines: their names, or varying settings if names are long."""
    names = [comparison.rows[index].name for index in rows]
    if comparison.settings and max(map(len, names)) > LONGEST_LABEL:
        columns = [
            (setting.name, setting.values, short_labels(setting.values, _LONGEST_VALUE))
            for setting in comparison.settings
        ]
        settings = [
            [f"{name}={short[values[index]]}" for name, values, short in columns if values[index] != ABSENT]
            for index in rows
        ]
        names = [" ".join(parts) or name for parts, name in zip(settings, names, strict=True)]
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
    """Return the height of a figure with these rows, in pixels."""
    return _STEPS[any(_BREAK in label for label in labels)] * len(labels)


def row_axis(labels: Sequence[str]) -> Spec:
    """Return the y axis for records whose `row` is one of the labels, the first on top."""
    broken = {"test": f"indexof(datum.value, '{_BREAK}') >= 0", "value": "line-bottom"}
    look: Spec = {"grid": True, "ticks": False, "domain": False, "labelLimit": 230,
                  "labelExpr": f"split(datum.label, '{_BREAK}')",
                  "labelBaseline": {"condition": broken, "value": "middle"}}  # fmt: skip
    return {"field": "row", "type": "nominal", "title": None, "scale": {"domain": list(labels)}, "axis": look}
