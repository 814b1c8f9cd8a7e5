"""Learning curves: a metric over the number of shots, or over another setting that is a number; a band over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

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
from sft.report.figures.lines import ZERO_SHOT, Group, Layout, groups_of, shared_groups, with_each_line
from sft.report.figures.settings import Axis, about, choose_axis, colour_choices, other_settings
from sft.report.metrics import bounds, title

MOST_POINTS = 400  # single runs in one figure
_SPREAD = 8  # from this ratio of the largest to the smallest position on, the axis is logarithmic
_BANDS = 2  # lines with bands; bands of more lines would overlap
_CROWD = 4  # lines; with more, points are smaller
_DODGE = 5.0  # pixels between the error bars of two lines
_WIDEST_DODGE = 24.0
_PICK = "picked"


def curves(comparison: Comparison) -> Iterator[Figure]:
    """Yield a figure for each metric, and for the leading metric one for each choice of colours."""
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
            figure = _curve(comparison, metric, Layout(x, axis, colours, averaged, tuple(along), over))
            if figure is not None:
                yield figure


def _curve(comparison: Comparison, metric: str, layout: Layout) -> Figure | None:
    placed = groups_of(comparison, metric, layout)
    if len({group.x for group in placed}) < 2:
        return None
    shared = shared_groups(comparison, metric, layout)
    joined = with_each_line(comparison, layout, shared, placed)
    means = [_mean(comparison, metric, group) for group in [*placed, *joined]]
    common = [_mean(comparison, metric, group) for group in shared]
    points = _runs(comparison, metric, [*placed, *[group for group in shared if group.x is not None]])
    by = [layout.axis.name, *[setting.name for setting in layout.colours]]
    kept = points if len(points) <= MOST_POINTS else []
    names = list(dict.fromkeys(group.series for group in placed))
    _set_apart(names, [*means[: len(placed)], *kept])
    for record in means[len(placed) :]:
        record["shift"] = 0.0
    spec = chart(_layers(metric, layout, names, kept, common), means)
    heading = f"{title(metric)} by {listed(by)}"
    sentences = [_spread_caption(layout, means, drawn=bool(kept)), _axis_caption(layout.axis)]
    sentences += [*_shared_caption(layout, shared, joined, placed), *_averages_caption(layout)]
    sentences += [] if kept or not points else [f"The {len(points)} single runs are too many to draw."]
    caption = " ".join(sentence for sentence in sentences if sentence)
    return Figure(figure_name("curve", metric, *by), heading, caption, spec)


def _set_apart(names: Sequence[str], records: Sequence[Record]) -> None:
    """Record how many pixels each line is shifted, so that error bars do not overlap."""
    step = 0.0 if len(names) <= _BANDS else min(_DODGE, _WIDEST_DODGE / len(names))
    shifts: dict[str, float] = {
        name: round((index - (len(names) - 1) / 2) * step, 2) for index, name in enumerate(names)
    }
    for record in records:
        record["shift"] = shifts.get(record["series"], 0.0)


def _mean(comparison: Comparison, metric: str, group: Group) -> Record:
    """Return a point of a line and its standard deviation, cut at the bounds of the metric."""
    rows = [comparison.rows[index] for index in group.rows]
    estimates = [found for row in rows if (found := row.estimate(metric)) is not None]
    mean = statistics.fmean(found.mean for found in estimates)
    std = estimates[0].std if len(rows) == 1 else _spread_of_means(comparison, metric, group.rows)
    lowest, highest = bounds(metric) or (None, None)
    low, high = mean - (std or 0.0), mean + (std or 0.0)
    return {
        "x": group.x,
        "series": group.series,
        "mean": round(mean, 6),
        "std": None if std is None else round(std, 6),
        "low": round(low if lowest is None else max(low, lowest), 6),
        "high": round(high if highest is None else min(high, highest), 6),
        "runs": sum(found.n for found in estimates),
        "about": about(comparison, group.rows[0]) if len(rows) == 1 else f"mean of {len(rows)} configurations",
    }


def _spread_of_means(comparison: Comparison, metric: str, rows: Sequence[int]) -> float | None:
    """Return the standard deviation over seeds of the mean over rows; None if the rows do not share two seeds."""
    by_seed = [
        {run.seed: run.metrics()[metric] for run in comparison.rows[index].runs if metric in run.metrics()}
        for index in rows
    ]
    seeds = set.intersection(*map(set, by_seed))
    means = [statistics.fmean(one[seed] for one in by_seed) for seed in seeds]
    return statistics.stdev(means) if len(means) > 1 else None


def _runs(comparison: Comparison, metric: str, groups: Sequence[Group]) -> list[Record]:
    """Return the single runs of rows with several runs."""
    return [
        {"x": group.x, "series": group.series, "value": round(run.metrics()[metric], 6), "run": run.name}
        for group in groups
        for index in group.rows
        if sum(metric in run.metrics() for run in comparison.rows[index].runs) > 1
        for run in comparison.rows[index].runs
        if metric in run.metrics()
    ]


def _layers(
    metric: str, layout: Layout, names: Sequence[str], points: Sequence[Record], common: Sequence[Record]
) -> list[Spec]:
    x = {"field": "x", "type": "quantitative", **_x_axis(layout.axis)}
    y = {"type": "quantitative", "title": metric_title(metric), "scale": {"zero": False, "nice": True}}
    mean_y = {**y, "field": "mean"}
    shown = dict.fromkeys(("mean", "std", "value"), metric_format(metric))
    of_means = tooltip({"about": "settings", "mean": "mean", "std": "standard deviation", "runs": "runs"}, shown)
    look = _look(names, " · ".join(setting.name for setting in layout.colours))
    colour = {"color": look["color"]}
    spread = {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, **colour}
    line = {"x": x, "y": mean_y, **colour, "strokeDash": look["dash"]}
    point = {"x": x, "y": mean_y, "color": look["color"], "shape": look["shape"], "tooltip": of_means}
    run: Spec = {
        "x": x,
        "y": {**y, "field": "value"},
        **colour,
        "tooltip": tooltip({"run": "run", "value": "value"}, shown),
    }
    crowded = len(names) > _CROWD
    apart = {"xOffset": {"expr": "datum.shift"}}
    if len(names) <= _BANDS:
        found: list[Spec] = [{"mark": {"type": "area", "line": False}, "encoding": {**spread, **_when_picked(0.16, 0)}}]
    else:
        found = [
            {"mark": {"type": "rule", "strokeWidth": 1.5, **apart}, "encoding": {**spread, **_when_picked(0.6, 0)}}
        ]
    found.append({"mark": {"type": "line", "strokeWidth": 2, **apart}, "encoding": {**line, **_when_picked(1, 0.15)}})
    if points:
        mark = {"type": "circle", "size": 14 if crowded else 22, **apart}
        found.append({"data": {"values": list(points)}, "mark": mark, "encoding": {**run, **_when_picked(0.55, 0.05)}})
    pick = {"name": _PICK, "select": {"type": "point", "fields": ["series"]}, "bind": "legend"}
    mark = {"type": "point", "filled": True, "size": 80, **apart}
    found.append({"params": [pick], "mark": mark, "encoding": {**point, **_when_picked(1, 0.15)}})
    return [*found, *_common_layers(common, x, mean_y, of_means)]


def _look(names: Sequence[str], heading: str) -> dict[str, Spec]:
    """Return the channels that distinguish lines: colour, dashes and shapes, each sufficient alone."""
    legend = {"columns": legend_columns(names), "title": heading or None, "symbolOpacity": 1}

    def by_series(values: Sequence[object]) -> Spec:
        scale = {"domain": list(names), "range": [values[index % len(values)] for index in range(len(names))]}
        return {"field": "series", "type": "nominal", "scale": scale, "legend": legend if len(names) > 1 else None}

    return {"color": by_series(PALETTE), "dash": by_series(DASHES), "shape": by_series(SHAPES)}


def _when_picked(picked: float, otherwise: float) -> Spec:
    """Return an opacity: `picked` for all lines until a line is clicked in the page's legend."""
    return {"opacity": {"condition": {"param": _PICK, "value": picked}, "value": otherwise}}


def _common_layers(common: Sequence[Record], x: Spec, y: Spec, lines: list[Spec]) -> list[Spec]:
    """Return layers of shared rows: a point for rows that lines share, a line across for rows of the whole axis."""
    at_point = [record for record in common if record["x"] is not None]
    across = [record for record in common if record["x"] is None]
    found: list[Spec] = []
    if at_point:
        mark = {"type": "point", "style": "reference-point", "shape": "circle", "size": 80, "opacity": 1}
        found.append({"data": {"values": at_point}, "mark": mark, "encoding": {"x": x, "y": y, "tooltip": lines}})
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
    """Return an axis and a scale that keep all positions apart, with a tick at each position."""
    positions = axis.positions
    low, high = positions[0], positions[-1]
    positive = [position for position in positions if position > 0]
    scale: Spec = {"nice": False, "padding": 14}
    if low < 0 or not positive or high / positive[0] < _SPREAD:
        scale |= {"zero": False}
    else:
        scale |= {"type": "log"} if low > 0 else {"type": "symlog", "constant": positive[0]}
    labels: Spec = {"values": positions, "labelOverlap": "greedy", "grid": False, "format": ".6~g"}
    for position, text in axis.ticks.items():
        if text == "all":
            labels["labelExpr"] = f"datum.value === {position!r} ? 'all' : datum.label"
    return {"title": axis.name, "scale": scale, "axis": labels}


def _spread_caption(layout: Layout, means: Sequence[Record], drawn: bool) -> str:
    if not any(record["std"] is not None for record in means):
        return "One run at each point."
    mark = "band" if len({record["series"] for record in means}) <= _BANDS else "bar"
    points = "; small points are single runs" if drawn else ""
    return f"Mean over {layout.over}; the {mark} is ± 1 standard deviation over {layout.over}{points}."


def _axis_caption(axis: Axis) -> str:
    """Return a sentence if the axis is logarithmic."""
    scale = _x_axis(axis)["scale"].get("type")
    return f"The axis of {axis.name} is logarithmic{', except for zero' if scale == 'symlog' else ''}." if scale else ""


def _shared_caption(
    layout: Layout, shared: Sequence[Group], joined: Sequence[Group], placed: Sequence[Group]
) -> Iterator[str]:
    """Yield sentences on the points that lines share, and on the lines across."""
    across = [group for group in shared if group.x is None]
    if across:
        which = across[0].series if len(across) == 1 else " and ".join(dict.fromkeys(_kind(one) for one in across))
        yield f"The dashed line is {which}." if len(across) == 1 else f"The dashed lines are {which}."
    points = [group for group in shared if group.x is not None]
    if not points:
        return
    lines, met = {group.series for group in placed}, {group.series for group in joined}
    if len(points) == 1 and met == lines:
        yield "Zero-shot is one point that all lines share."
        return
    if joined:
        open_ = [one.name for index, one in enumerate(layout.colours) if any(g.values[index] is None for g in points)]
        yield f"Lines that differ only in {listed(open_)} share their zero-shot point."
    if len({group.rows for group in joined}) < len(points):
        yield "Points without a line are zero-shot."


def _kind(group: Group) -> str:
    return ZERO_SHOT if group.series.startswith(ZERO_SHOT) else group.series


def _averages_caption(layout: Layout) -> Iterator[str]:
    if layout.averaged:
        yield f"Averaged over {listed([one.name for one in layout.averaged])}."
    if layout.along:
        yield f"Changes together with {layout.axis.name}: {listed([one.name for one in layout.along])}."
