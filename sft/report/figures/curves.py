"""Learning curves: a metric over the number of shots, or over another setting that is a number; a band over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sft.config.varying import Setting
from sft.report.comparison import Comparison
from sft.report.figures.base import (
    DASHES,
    PALETTE,
    SHAPES,
    Figure,
    Record,
    Spec,
    chart,
    figure_name,
    legend_columns,
    listed,
    metric_format,
    metric_title,
    tooltip,
)
from sft.report.figures.settings import (
    Axis,
    about,
    choose_axis,
    colour_choices,
    combinations,
    is_open,
    other_settings,
    short_labels,
)
from sft.report.metrics import bounds, title

MOST_POINTS = 400  # single runs in one figure
_SPREAD = 8  # how many times the smallest place the largest is, where even steps would crowd the small ones
_CROWD = 4  # lines; of more, bands and points step back
_PICK = "picked"


class _Layout(NamedTuple):
    """What stands where in a figure, and what a point is the mean over."""

    axis: Axis
    colours: tuple[Setting, ...]
    averaged: tuple[Setting, ...]
    along: tuple[Setting, ...]
    over: str


class _Group(NamedTuple):
    """The rows of one line at one place; at no place: they do not know the axis."""

    series: str
    place: float | None
    rows: tuple[int, ...]


def curves(comparison: Comparison) -> Iterator[Figure]:
    """One figure for each metric; of the leading one, one for each setting that lines can be coloured by."""
    chosen = choose_axis(comparison)
    if chosen is None:
        return
    x, axis = chosen
    others, along = other_settings(comparison, x)
    choices = colour_choices(comparison, others)
    over = "the runs of a group" if comparison.grouped else "seeds"
    for number, metric in enumerate(comparison.metrics):
        for colours in choices if number == 0 else choices[:1]:
            averaged = tuple(one for one in others if one not in colours)
            figure = _curve(comparison, metric, _Layout(axis, colours, averaged, tuple(along), over))
            if figure is not None:
                yield figure


def _curve(comparison: Comparison, metric: str, layout: _Layout) -> Figure | None:
    groups = _groups(comparison, metric, layout)
    placed = [group for group in groups if group.place is not None]
    if len({group.place for group in placed}) < 2:
        return None
    shared = _shared(comparison, metric, layout)
    means = [_mean(comparison, metric, group) for group in [*placed, *_with_each_series(shared, placed)]]
    common = [{**_mean(comparison, metric, group), "series": "zero-shot"} for group in shared]
    points = _runs(comparison, metric, [*placed, *[group for group in shared if group.place is not None]])
    by = [layout.axis.name, *[setting.name for setting in layout.colours]]
    kept = points if len(points) <= MOST_POINTS else []
    names = list(dict.fromkeys(group.series for group in placed))
    spec = chart(_layers(metric, layout, names, kept, common), means)
    heading = f"{title(metric)} by {listed(by)}"
    caption = _caption(layout, means, common, len(points) if not kept else 0)
    return Figure(figure_name("curve", metric, *by), heading, caption, spec)


def _series(layout: _Layout, values: Sequence[str]) -> str:
    return " · ".join(short_labels(one.values)[value] for one, value in zip(layout.colours, values, strict=True))


def _groups(comparison: Comparison, metric: str, layout: _Layout) -> list[_Group]:
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
    return [_Group(names[values], place, tuple(found[values, place])) for values, place in keys]


def _is_shared(comparison: Comparison, layout: _Layout, index: int) -> bool:
    return any(is_open(comparison, setting, index) for setting in layout.colours)


def _shared(comparison: Comparison, metric: str, layout: _Layout) -> list[_Group]:
    """Rows that belong to every line, or to every place of the axis."""
    found: dict[float | None, list[int]] = {}
    for index, row in enumerate(comparison.rows):
        place = layout.axis.at[index]
        if row.estimate(metric) is not None and (place is None or _is_shared(comparison, layout, index)):
            found.setdefault(place, []).append(index)
    return [_Group("", place, tuple(rows)) for place, rows in found.items()]


def _with_each_series(shared: Sequence[_Group], placed: Sequence[_Group]) -> list[_Group]:
    """The shared groups as part of each line that has nothing of its own there, so that lines begin there."""
    names = dict.fromkeys(group.series for group in placed)
    own = {(group.series, group.place) for group in placed}
    return [
        group._replace(series=name)
        for group in shared
        for name in names
        if group.place is not None and (name, group.place) not in own
    ]


def _mean(comparison: Comparison, metric: str, group: _Group) -> Record:
    """A point of a line and its band, which ends where the metric's scale does."""
    rows = [comparison.rows[index] for index in group.rows]
    estimates = [found for row in rows if (found := row.estimate(metric)) is not None]
    mean = statistics.fmean(found.mean for found in estimates)
    std = estimates[0].std if len(rows) == 1 else _spread_of_means(comparison, metric, group.rows)
    lowest, highest = bounds(metric) or (None, None)
    low, high = mean - (std or 0.0), mean + (std or 0.0)
    return {
        "x": group.place,
        "series": group.series,
        "mean": round(mean, 6),
        "std": None if std is None else round(std, 6),
        "low": round(low if lowest is None else max(low, lowest), 6),
        "high": round(high if highest is None else min(high, highest), 6),
        "runs": sum(found.n for found in estimates),
        "about": about(comparison, group.rows[0]) if len(rows) == 1 else f"mean of {len(rows)} configurations",
    }


def _spread_of_means(comparison: Comparison, metric: str, rows: Sequence[int]) -> float | None:
    """How much the mean over several rows changes from seed to seed; None where they do not share two seeds."""
    by_seed = [
        {run.seed: run.metrics()[metric] for run in comparison.rows[index].runs if metric in run.metrics()}
        for index in rows
    ]
    seeds = set.intersection(*map(set, by_seed))
    means = [statistics.fmean(one[seed] for one in by_seed) for seed in seeds]
    return statistics.stdev(means) if len(means) > 1 else None


def _runs(comparison: Comparison, metric: str, groups: Sequence[_Group]) -> list[Record]:
    """The single runs of rows with several."""
    return [
        {"x": group.place, "series": group.series, "value": round(run.metrics()[metric], 6), "run": run.name}
        for group in groups
        for index in group.rows
        if sum(metric in run.metrics() for run in comparison.rows[index].runs) > 1
        for run in comparison.rows[index].runs
        if metric in run.metrics()
    ]


def _layers(
    metric: str, layout: _Layout, names: Sequence[str], points: Sequence[Record], common: Sequence[Record]
) -> list[Spec]:
    x = {"field": "x", "type": "quantitative", **_x_axis(layout.axis)}
    y = {"type": "quantitative", "title": metric_title(metric), "scale": {"zero": False, "nice": True}}
    mean_y = {**y, "field": "mean"}
    shown = dict.fromkeys(("mean", "std", "value"), metric_format(metric))
    of_means = tooltip({"about": "settings", "mean": "mean", "std": "standard deviation", "runs": "runs"}, shown)
    look = _look(names, " · ".join(setting.name for setting in layout.colours))
    colour = {"color": look["color"]}
    band = {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, **colour}
    line = {"x": x, "y": mean_y, **colour, "strokeDash": look["dash"]}
    point = {"x": x, "y": mean_y, "color": look["color"], "shape": look["shape"], "tooltip": of_means}
    run: Spec = {
        "x": x,
        "y": {**y, "field": "value"},
        **colour,
        "tooltip": tooltip({"run": "run", "value": "value"}, shown),
    }
    crowded = len(names) > _CROWD
    found: list[Spec] = [
        {"mark": {"type": "area", "line": False}, "encoding": {**band, **_when_picked(0.07 if crowded else 0.16, 0.0)}},
        {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {**line, **_when_picked(1.0, 0.15)}},
    ]
    if points:
        mark = {"type": "circle", "size": 14 if crowded else 22}
        found.append({"data": {"values": list(points)}, "mark": mark, "encoding": {**run, **_when_picked(0.55, 0.05)}})
    pick = {"name": _PICK, "select": {"type": "point", "fields": ["series"]}, "bind": "legend"}
    mark = {"type": "point", "filled": True, "size": 80}
    found.append({"params": [pick], "mark": mark, "encoding": {**point, **_when_picked(1.0, 0.15)}})
    return [*found, *_common_layers(common, x, mean_y, of_means)]


def _look(names: Sequence[str], heading: str) -> dict[str, Spec]:
    """How lines are told apart: by colour, dashes and shapes, so that none of these is needed."""
    legend = {"columns": legend_columns(names), "title": heading or None, "symbolOpacity": 1}

    def by_series(values: Sequence[object]) -> Spec:
        scale = {"domain": list(names), "range": [values[place % len(values)] for place in range(len(names))]}
        return {"field": "series", "type": "nominal", "scale": scale, "legend": legend if len(names) > 1 else None}

    return {"color": by_series(PALETTE), "dash": by_series(DASHES), "shape": by_series(SHAPES)}


def _when_picked(picked: float, otherwise: float) -> Spec:
    """An opacity: the first for all lines until one is clicked on in the legend of a page."""
    return {"opacity": {"condition": {"param": _PICK, "value": picked}, "value": otherwise}}


def _common_layers(common: Sequence[Record], x: Spec, y: Spec, lines: list[Spec]) -> list[Spec]:
    """What belongs to every line as a point over them, what belongs to every place as a line across."""
    at_place = [record for record in common if record["x"] is not None]
    across = [record for record in common if record["x"] is None]
    found: list[Spec] = []
    if at_place:
        mark = {"type": "point", "style": "reference-point", "shape": "circle", "size": 80, "opacity": 1}
        found.append({"data": {"values": at_place}, "mark": mark, "encoding": {"x": x, "y": y, "tooltip": lines}})
    if across:
        rule = {"type": "rule", "style": "reference"}
        note = {"type": "text", "style": "note", "align": "right", "baseline": "bottom", "dy": -3}
        found += [
            {"data": {"values": across}, "mark": rule, "encoding": {"y": y, "tooltip": lines}},
            {"data": {"values": across}, "mark": note,
             "encoding": {"x": {"value": "width"}, "y": y, "text": {"field": "series"}}},
        ]  # fmt: skip
    return found


def _x_axis(axis: Axis) -> Spec:
    """Axis and scale that keep all places apart, with a tick at each."""
    places = axis.places
    low, high = places[0], places[-1]
    positive = [place for place in places if place > 0]
    scale: Spec = {"nice": False, "padding": 14}
    if low < 0 or not positive or high / positive[0] < _SPREAD:
        scale |= {"zero": False}
    else:
        scale |= {"type": "log"} if low > 0 else {"type": "symlog", "constant": positive[0]}
    labels: Spec = {"values": places, "labelOverlap": "greedy", "grid": False, "format": ".6~g"}
    for place, text in axis.ticks.items():
        if text == "all":
            labels["labelExpr"] = f"datum.value === {place!r} ? 'all' : datum.label"
    return {"title": axis.name, "scale": scale, "axis": labels}


def _caption(layout: _Layout, means: Sequence[Record], common: Sequence[Record], dropped: int) -> str:
    several = any(record["std"] is not None for record in means)
    over = layout.over
    points = "" if dropped else "; small points are single runs"
    spread = f"Mean over {over}; the band is ± 1 standard deviation over {over}{points}."
    said = [spread if several else "One run at each point."]
    if layout.averaged:
        said.append(f"Averaged over {listed([one.name for one in layout.averaged])}.")
    if any(record["x"] is None for record in common):
        said.append("The dashed line is zero-shot.")
    elif len(common) == 1:
        said.append("Zero-shot is one point that all lines share.")
    elif common:
        said.append("Points without a line are zero-shot.")
    if layout.along:
        said.append(f"Along with {layout.axis.name} also changes {listed([one.name for one in layout.along])}.")
    if dropped:
        said.append(f"The {dropped} single runs are too many to be drawn.")
    return " ".join(said)
