"""Heat maps: a metric for each pair of varying settings, averaged over the rows that share the two values."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence

from sft.config.varying import Setting
from sft.report.comparison import Comparison
from sft.report.figures.base import (
    Figure,
    Record,
    Spec,
    chart,
    figure_name,
    is_better_up,
    listed,
    metric_format,
    tooltip,
)
from sft.report.figures.settings import MOST_ABOUT, is_open, short_labels, value_order
from sft.report.metrics import number, title

MOST_SETTINGS = 6  # every pair of them is shown
MOST_VALUES = 30  # values of a setting; with more, cells cannot be read
_LONG = 14  # characters; longer values do not fit into columns
_BRIGHT = 0.5  # position on viridis from which black text is readable


def heatmaps(comparison: Comparison) -> Iterator[Figure]:
    """Yield a figure of the leading metric for each pair of settings."""
    for metric in comparison.metrics[:1]:
        for pair in itertools.combinations(comparison.settings[:MOST_SETTINGS], 2):
            down, across = sorted(pair, key=_fits_down)
            figure = _heatmap(comparison, metric, across, down)
            if figure is not None:
                yield figure


def _fits_down(setting: Setting) -> tuple[bool, int]:
    """Return a sort key that puts the setting with the better row labels first: long values, else few values."""
    return max(map(len, setting.values)) <= _LONG, len(set(setting.values))


def _heatmap(comparison: Comparison, metric: str, across: Setting, down: Setting) -> Figure | None:
    cells = _cells(comparison, metric, across, down)
    columns = sorted({column for column, _ in cells}, key=value_order)
    rows = sorted({row for _, row in cells}, key=value_order)
    if min(len(columns), len(rows)) < 2 or max(len(columns), len(rows)) > MOST_VALUES:
        return None
    if len(cells) <= max(len(columns), len(rows)):
        return None  # one determines the other: they do not vary independently
    names = short_labels(columns), short_labels(rows)
    records = [_cell(comparison, metric, indices) for indices in cells.values()]
    for record, (column, row) in zip(records, cells, strict=True):
        both = f"{across.name}={column}, {down.name}={row}"
        record |= {"across": names[0][column], "down": names[1][row], "about": both[:MOST_ABOUT]}
    _mark_bright(records, is_better_up(metric) is False)
    caption = _caption(comparison, metric, (across, down), cells)
    heading = f"{title(metric)} by {across.name} and {down.name}"
    labels = [names[0][value] for value in columns], [names[1][value] for value in rows]
    spec = _spec(metric, (across.name, down.name), labels, records)
    return Figure(figure_name("heat", metric, across.name, down.name), heading, caption, spec)


def _cells(comparison: Comparison, metric: str, across: Setting, down: Setting) -> dict[tuple[str, str], list[int]]:
    """Return the rows of each pair of values, without zero-shot rows if a setting is one of training."""
    found: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(comparison.rows):
        apart = not (is_open(comparison, across, index) or is_open(comparison, down, index))
        if apart and row.estimate(metric) is not None:
            found.setdefault((across.values[index], down.values[index]), []).append(index)
    return found


def _cell(comparison: Comparison, metric: str, indices: Sequence[int]) -> Record:
    estimates = [found for index in indices if (found := comparison.rows[index].estimate(metric)) is not None]
    means = [found.mean for found in estimates]
    mean = statistics.fmean(means)
    std = estimates[0].std if len(means) == 1 else statistics.stdev(means)
    return {
        "mean": round(mean, 6),
        "text": number(mean, metric),
        "std": None if std is None else round(std, 6),
        "rows": len(means),
        "runs": sum(found.n for found in estimates),
    }


def _mark_bright(records: Sequence[Record], reverse: bool) -> None:
    """Record for each cell whether its colour is bright."""
    means = [record["mean"] for record in records]
    low, span = min(means), (max(means) - min(means)) or 1.0
    for record in records:
        part = (record["mean"] - low) / span
        record["bright"] = (1 - part if reverse else part) >= _BRIGHT


def _spec(metric: str, names: tuple[str, str], values: tuple[list[str], list[str]], records: Sequence[Record]) -> Spec:
    columns, rows = values
    shown = metric_format(metric)
    slanted = {"labelAngle": -40} if sum(map(len, columns)) > 60 else {"labelAngle": 0}
    labels = {"grid": False, "ticks": False, "domain": False, "labelLimit": 240}
    encoding = {
        "x": {"field": "across", "type": "ordinal", "title": names[0], "scale": {"domain": columns},
              "axis": {**labels, **slanted}},
        "y": {"field": "down", "type": "ordinal", "title": names[1], "scale": {"domain": rows}, "axis": labels},
    }  # fmt: skip
    colour = {
        "field": "mean", "type": "quantitative", "title": _legend(metric),
        "scale": {"scheme": "viridis", "zero": False, "nice": False, "reverse": is_better_up(metric) is False},
        "legend": {"format": shown, "gradientLength": 180, "tickCount": 3},
    }  # fmt: skip
    lines = tooltip(
        {"about": "settings", "mean": "mean", "std": "standard deviation", "rows": "configurations", "runs": "runs"},
        {"mean": shown, "std": shown},
    )  # fmt: skip
    ink = {"condition": {"test": "datum.bright", "value": "#000000"}, "value": "#ffffff"}
    small = 10 if len(columns) > 10 else 13
    layers: list[Spec] = [
        {"mark": {"type": "rect"}, "encoding": {**encoding, "color": colour, "tooltip": lines}},
        {"mark": {"type": "text", "fontSize": small, "tooltip": None},
         "encoding": {**encoding, "text": {"field": "text"}, "color": ink}},
    ]  # fmt: skip
    return chart(layers, records, len(rows) * (34 if len(rows) < 15 else 22))


def _legend(metric: str) -> str:
    return title(metric) if is_better_up(metric) is None else f"{title(metric)} (brighter is better)"


def _caption(
    comparison: Comparison, metric: str, pair: Sequence[Setting], cells: Mapping[tuple[str, str], Sequence[int]]
) -> str:
    keys = [setting.key for setting in pair]
    others = [setting.name for setting in comparison.settings if setting.key not in keys]
    several = any(len(indices) > 1 for indices in cells.values())
    sentences = ["Mean of the configurations that share the two values."]
    if several and others:
        sentences = [f"Mean over {listed(others)} of the configurations that share the two values."]
    used = sum(map(len, cells.values()))
    if used < sum(row.estimate(metric) is not None for row in comparison.rows):
        sentences.append("Without zero-shot, to which settings of training do not apply.")
    return " ".join(sentences)
