"""Group the rows of a comparison into the lines of a learning curve, and find the rows that lines share.

Settings of training do not apply to a zero-shot row, so it belongs to the lines of all their values. Its other settings
(calibration, instruction, model) must be those of the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sft.config.varying import Setting
from sft.report.comparison import Comparison
from sft.report.figures.settings import Axis, combinations, is_open, short_labels

ZERO_SHOT = "zero-shot"


class Layout(NamedTuple):
    """The settings of a figure's axis and colours, and those that a point averages over."""

    x: Setting
    axis: Axis
    colours: tuple[Setting, ...]
    averaged: tuple[Setting, ...]
    along: tuple[Setting, ...]
    over: str


class Group(NamedTuple):
    """The rows of a line at a point of the axis.

    Args:
        series: name of the line, or of the shared rows.
        x: position on the axis; None if the axis does not apply to the rows.
        rows: indices in the comparison.
        values: values of the settings that colour the lines; None: the rows count for every value.
    """

    series: str
    x: float | None
    rows: tuple[int, ...]
    values: tuple[str | None, ...]


def groups_of(comparison: Comparison, metric: str, layout: Layout) -> list[Group]:
    """Return the rows of each line at each point of the axis, lines in the order of their values."""
    names = {values: _series(layout, values) for values in combinations(comparison, layout.colours)}
    order = list(names)
    found: dict[tuple[tuple[str, ...], float], list[int]] = {}
    for index, row in enumerate(comparison.rows):
        x = layout.axis.at[index]
        if x is None or row.estimate(metric) is None or _is_shared(comparison, layout, index):
            continue
        found.setdefault((tuple(one.values[index] for one in layout.colours), x), []).append(index)
    keys = sorted(found, key=lambda key: (order.index(key[0]), key[1]))
    return [Group(names[values], x, tuple(found[values, x]), values) for values, x in keys]


def shared_groups(comparison: Comparison, metric: str, layout: Layout) -> list[Group]:
    """Return the rows that belong to several lines, or to the whole axis, grouped by their values."""
    found: dict[tuple[float | None, tuple[str | None, ...]], list[int]] = {}
    for index, row in enumerate(comparison.rows):
        x = layout.axis.at[index]
        if row.estimate(metric) is not None and (x is None or _is_shared(comparison, layout, index)):
            found.setdefault((x, _values_of(comparison, layout, index)), []).append(index)
    several = {x for x, _ in found if sum(x == other for other, _ in found) > 1}
    return [
        Group(_name(comparison, layout, rows[0], values if x in several else ()), x, tuple(rows), values)
        for (x, values), rows in found.items()
    ]


def with_each_line(
    comparison: Comparison, layout: Layout, shared: Sequence[Group], placed: Sequence[Group]
) -> list[Group]:
    """Return the shared groups as points of each line that they belong to and that has no own point there."""
    lines = dict.fromkeys((group.series, group.values) for group in placed)
    own = {(group.series, group.x) for group in placed}
    return [
        group._replace(series=series, values=values)
        for group in shared
        for series, values in lines
        if group.x is not None
        and (series, group.x) not in own
        and all(mine in (None, its) for mine, its in zip(group.values, values, strict=True))
        and _is_same_mean(comparison, layout, group, [one for one in placed if one.series == series])
    ]


def _is_same_mean(comparison: Comparison, layout: Layout, shared: Group, line: Sequence[Group]) -> bool:
    """Whether both are means over the same values of the averaged settings that apply to the shared rows."""
    settings = [one for one in layout.averaged if not any(is_open(comparison, one, index) for index in shared.rows)]

    def values(rows: Sequence[int]) -> set[tuple[str, ...]]:
        return {tuple(one.values[index] for one in settings) for index in rows}

    return values(shared.rows) == values([index for group in line for index in group.rows])


def _is_shared(comparison: Comparison, layout: Layout, index: int) -> bool:
    return any(is_open(comparison, setting, index) for setting in layout.colours)


def _values_of(comparison: Comparison, layout: Layout, index: int) -> tuple[str | None, ...]:
    return tuple(None if is_open(comparison, one, index) else one.values[index] for one in layout.colours)


def _series(layout: Layout, values: Sequence[str | None]) -> str:
    pairs = zip(layout.colours, values, strict=True)
    return " · ".join(short_labels(one.values)[value] for one, value in pairs if value is not None)


def _name(comparison: Comparison, layout: Layout, index: int, values: Sequence[str | None]) -> str:
    """Return the name of shared rows: zero-shot, or rows without the axis's setting (a full model has no rank)."""
    zero_shot = comparison.rows[index].runs[0].config.dataset.shots == 0
    text = ZERO_SHOT if zero_shot else f"without {layout.axis.name}"
    series = _series(layout, values) if values else ""
    return f"{text} · {series}" if series else text
