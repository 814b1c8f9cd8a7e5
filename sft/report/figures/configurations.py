"""Configurations as the rows of a figure: a short text for each, all different. Knows nothing of metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sft.report.comparison import Comparison
from sft.report.figures.base import Spec
from sft.report.figures.settings import LONGEST_LABEL, short_labels

STEP = 22  # pixels of a row


class RowLabels(NamedTuple):
    """A text for each row, in order, and what they say together (None: names)."""

    texts: list[str]
    heading: str | None


def row_labels(comparison: Comparison, rows: Sequence[int]) -> RowLabels:
    """The names of some rows, or where these are long the values of what varies; all different."""
    names, heading = [comparison.rows[index].name for index in rows], None
    if comparison.settings and max(map(len, names)) > LONGEST_LABEL:
        values = [(one, short_labels(one.values)) for one in comparison.settings]
        names = [" · ".join(short[one.values[index]] for one, short in values) for index in rows]
        heading = " · ".join(one.name for one in comparison.settings)
    short = short_labels(names)
    taken: dict[str, int] = {}
    texts = []
    for name in names:
        taken[name] = taken.get(name, 0) + 1
        texts.append(short[name] if taken[name] == 1 else f"{short[name]} [{taken[name]}]")
    return RowLabels(texts, heading)


def row_axis(labels: RowLabels) -> Spec:
    """The y axis for records whose `row` is one of the texts, the first on top."""
    look = {"grid": True, "ticks": False, "domain": False, "labelLimit": 220}
    return {
        "field": "row",
        "type": "nominal",
        "title": labels.heading,
        "scale": {"domain": labels.texts},
        "axis": look,
    }
