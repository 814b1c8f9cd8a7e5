"""Which rows of a comparison make which line of a learning curve, and which of them lines share.

A zero-shot row says nothing of settings of the training: it belongs to the lines of all their values. What it does say
(its calibration, its instruction, its model) it must have in common with them. Knows no specifications.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sft.config.varying import Setting
from sft.report.comparison import Comparison
from sft.report.figures.settings import Axis, combinations, is_open, short_labels

ZERO_SHOT = "zero-shot"


class Layout(NamedTuple):
    """What stands where in a figure, and what a point is the mean over."""

    x: Setting
    axis: Axis
    colours: tuple[Setting, ...]
    averaged: tuple[Setting, ...]
    along: tuple[Setting, ...]
    over: str


class Group(NamedTuple):
    """The rows of one line at one place.

    Args:
        series: the line's name; of shared rows, what is said of them.
        place: on the axis; None: they do not know it.
        rows: places in the comparison.
        values: of the settings that lines are coloured by; None: it stands for every value.
    """

    series: str
    place: float | None
    rows: tuple[int, ...]
    values: tuple[str | None, ...]


def groups_of(comparison: Comparison, metric: str, layout: Layout) -> list[Group]:
    """The rows of each line at each place, lines in the order of their values."""
    names = {values: _series(layout, values) for values in combinations(comparison, layout.colours)}
    order = list(names)
    found: dict[tuple[tuple[str, ...], float], list[int]] = {}
    for index, row in enumerate(comparison.rows):
        place = layout.axis.at[index]
        if place is None or row.estimate(metric) is None or _is_shared(comparison, layout, index):
            continue
        found.setdefault((tuple(one.values[index] for one in layout.colours), place), []).append(index)
    keys = sorted(found, key=lambda key: (order.index(key[0]), key[1]))
    return [Group(names[values], place, tuple(found[values, place]), values) for values, place in keys]


def shared_groups(comparison: Comparison, metric: str, layout: Layout) -> list[Group]:
    """Rows that belong to several lines, or to every place of the axis; those apart that say different things."""
    found: dict[tuple[float | None, tuple[str | None, ...]], list[int]] = {}
    for index, row in enumerate(comparison.rows):
        place = layout.axis.at[index]
        if row.estimate(metric) is not None and (place is None or _is_shared(comparison, layout, index)):
            found.setdefault((place, _said(comparison, layout, index)), []).append(index)
    several = {place for place, _ in found if sum(place == other for other, _ in found) > 1}
    return [
        Group(_name(comparison, layout, rows[0], values if place in several else ()), place, tuple(rows), values)
        for (place, values), rows in found.items()
    ]


def with_each_line(
    comparison: Comparison, layout: Layout, shared: Sequence[Group], placed: Sequence[Group]
) -> list[Group]:
    """The shared groups as part of each line that they belong to and that has nothing of its own there."""
    lines = dict.fromkeys((group.series, group.values) for group in placed)
    own = {(group.series, group.place) for group in placed}
    return [
        group._replace(series=series, values=values)
        for group in shared
        for series, values in lines
        if group.place is not None
        and (series, group.place) not in own
        and all(mine in (None, its) for mine, its in zip(group.values, values, strict=True))
        and _is_same_mean(comparison, layout, group, [one for one in placed if one.series == series])
    ]


def _is_same_mean(comparison: Comparison, layout: Layout, shared: Group, line: Sequence[Group]) -> bool:
    """Whether both are means over the same values of what the shared rows say of the averaged settings."""
    told = [one for one in layout.averaged if not any(is_open(comparison, one, index) for index in shared.rows)]

    def values(rows: Sequence[int]) -> set[tuple[str, ...]]:
        return {tuple(one.values[index] for one in told) for index in rows}

    return values(shared.rows) == values([index for group in line for index in group.rows])


def _is_shared(comparison: Comparison, layout: Layout, index: int) -> bool:
    return any(is_open(comparison, setting, index) for setting in layout.colours)


def _said(comparison: Comparison, layout: Layout, index: int) -> tuple[str | None, ...]:
    return tuple(None if is_open(comparison, one, index) else one.values[index] for one in layout.colours)


def _series(layout: Layout, values: Sequence[str | None]) -> str:
    pairs = zip(layout.colours, values, strict=True)
    return " · ".join(short_labels(one.values)[value] for one, value in pairs if value is not None)


def _name(comparison: Comparison, layout: Layout, index: int, values: Sequence[str | None]) -> str:
    """What shared rows are called: zero-shot, or those that know no such setting (a whole model: no rank)."""
    zero_shot = comparison.rows[index].runs[0].config.dataset.shots == 0
    text = ZERO_SHOT if zero_shot else f"without {layout.axis.name}"
    said = _series(layout, values) if values else ""
    return f"{text} · {said}" if said else text
