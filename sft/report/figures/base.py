"""Shared by all figures: the class `Figure`, the themes, and functions that build specifications.

A figure is a Vega-Lite specification as a plain dict. Colours and fonts come from `THEMES`, as Vega-Lite's `config`, so
that a page switches between light and dark with the same specification. The width is that of the container (`sized`
fixes it). A figure loads nothing.

Strings from data and names appear only as data values, titles and domains, which Vega does not interpret. Fields and
tooltips have our own names, since Vega makes expressions of them: it would look up a field `a.b[0]` as a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sft.log import plain
from sft.report.metrics import best_of, has_direction, number, title

Spec = dict[str, Any]
Record = dict[str, Any]

VALUES = "values"  # name of a template's data
HEIGHT = 300
# Okabe and Ito's colours for all kinds of colour vision. Grey replaces their black, which is invisible on a dark page,
# and ochre their yellow, which is invisible on a white page.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A8A", "#A6871C")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [10, 4], [4, 1], [1, 3], [6, 2, 1, 2, 1, 2])
_LONGEST_NAME = 80
_LONGEST_TEXT = 300  # characters of a name, a label or a line of a tooltip
_LONGEST_CAPTION = 1000


@dataclass(frozen=True)
class Figure:
    """A figure.

    Args:
        name: unique in a report, and valid as a file name.
        title: shown above the figure.
        caption: sentences on how to read it, the most important first.
        spec: Vega-Lite specification with its data.
    """

    name: str
    title: str
    caption: str
    spec: Spec


def _theme(ink: str, soft: str, lines: str, ramp: Sequence[str], on_ramp: str) -> Spec:
    """Return Vega-Lite's `config` for a page with text of the colour `ink`."""
    words = {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 600}
    return {
        "background": "transparent",
        "font": "sans-serif",
        "padding": 8,
        "view": {"stroke": None},
        "mark": {"invalid": "show"},  # no figure has gaps, and layers share scales and legends only with this setting
        "title": {"color": ink, "subtitleColor": soft, "anchor": "start", "frame": "group", "fontSize": 15,
                  "fontWeight": 600, "subtitleFontSize": 12, "subtitlePadding": 4, "offset": 12},
        "axis": {**words, "gridColor": lines, "domainColor": soft, "tickColor": soft, "labelLimit": 240,
                 "titlePadding": 10, "labelPadding": 4, "titleLimit": 600},
        "legend": {**words, "orient": "top", "labelLimit": 320, "symbolSize": 90, "symbolStrokeWidth": 0,
                   "columnPadding": 18, "rowPadding": 4, "titleLimit": 300,
                   "offset": 10},
        "text": {"color": ink, "fontSize": 12},
        "range": {"category": list(PALETTE), "symbol": list(SHAPES), "heatmap": list(ramp)},
        "style": {
            "reference": {"color": soft, "strokeWidth": 1.5, "strokeDash": [5, 4]},
            "reference-point": {"color": soft, "filled": True},
            "faint": {"color": soft, "fillOpacity": 0.25},
            "note": {"color": soft, "fontSize": 11},
            "on-ramp": {"color": on_ramp},
            "frame": {"stroke": soft, "strokeWidth": 1.5},
        },
    }  # fmt: skip


# `range.heatmap` is the scale of counts, from none to all; `on-ramp` is text on its dark end.
THEMES: Mapping[str, Spec] = {
    "light": _theme("#1f2328", "#59636e", "#e4e7eb", ("#f4f7fa", "#9ecae1", "#2171b5", "#08306b"), "#ffffff"),
    "dark": _theme("#e6edf3", "#a3acb5", "#343a42", ("#1c2229", "#1f4e79", "#4a97d2", "#b9e0ff"), "#0b1117"),
}


def finish(figures: Iterable[Figure]) -> tuple[Figure, ...]:
    """Return the figures with unique names, and texts without control characters and of bounded length."""
    found: dict[str, Figure] = {}
    for figure in figures:
        name, copy = figure.name, 1
        while name in found:
            copy += 1
            name = f"{figure.name}-{copy}"
        heading, caption = _words(figure.title, _LONGEST_TEXT), _words(figure.caption, _LONGEST_CAPTION)
        found[name] = Figure(name, heading, caption, _clean(figure.spec))
    return tuple(found.values())


def _clean(value: Any) -> Any:
    """Return a specification whose strings are plain and bounded."""
    if isinstance(value, str):
        return _words(value, _LONGEST_TEXT)
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list | tuple) else value


def _words(text: str, most: int) -> str:
    """Return at most `most` characters that can be encoded: JSON may contain lone surrogates."""
    return plain(text[:most]).encode("utf-8", "replace").decode("utf-8")


def themed(spec: Spec, dark: bool = False) -> Spec:
    """Return the figure with the colours of a light or a dark page."""
    return {**spec, "config": THEMES["dark" if dark else "light"]}


def filled(spec: Spec, values: Sequence[Record]) -> Spec:
    """Return a template with data."""
    return {**spec, "data": {"name": VALUES, "values": list(values)}}


def sized(spec: Spec, width: int) -> Spec:
    """Return the figure with a fixed width in pixels. The height does not change."""
    return {**spec, "width": width, "autosize": {"type": "pad"}}


def chart(layers: Sequence[Spec], values: Sequence[Record] | None = None, height: Any = HEIGHT) -> Spec:
    """Return layers on top of each other, as wide as their container; without values a template.

    Args:
        layers: the lowest first.
        values: data of all layers without data of their own.
        height: in pixels, or `{"step": …}` per row if the number of rows is unknown (Vega-Lite then logs to the page's
            console that only the width fits).
    """
    data: Spec = {"name": VALUES} if values is None else {"name": VALUES, "values": list(values)}
    fit = {"type": "fit-x", "contains": "padding"}
    return {"width": "container", "height": height, "autosize": fit, "data": data, "layer": list(layers)}


def tooltip(entries: Mapping[str, str], formats: Mapping[str, str] | None = None) -> list[Spec]:
    """Return the lines of a tooltip from field -> label.

    Neither may be `title` or `image`: the page's tooltips would show the first as a heading and fetch the second.
    """
    known = formats or {}
    return [
        {"field": field, "title": name, **({"format": known[field]} if field in known else {})}
        for field, name in entries.items()
    ]


def in_order(field: str, looks: Sequence[object]) -> Spec:
    """Return a channel that gives each value of a field one of several looks, in the order of the values.

    It is for templates, whose values are unknown. Their layers use different channels (`fill`, `stroke`, `color`), all
    with the legend, which Vega-Lite then merges into one legend with shapes.
    """
    legend = {"columns": 2, "symbolOpacity": 1}
    scale = {"range": list(looks)}
    return {"field": field, "type": "nominal", "sort": None, "title": None, "scale": scale, "legend": legend}


def metric_format(metric: str) -> str:
    """Return d3's format for a metric's values, with as many decimals as in tables."""
    return f".{len(number(0.0, metric).partition('.')[2])}f"


def metric_title(metric: str) -> str:
    """Return a metric's name for an axis, with a note if lower is better."""
    return title(metric) if is_better_up(metric) is not False else f"{title(metric)} (lower is better)"


def is_better_up(metric: str) -> bool | None:
    """Whether higher values of a metric are better; None if unknown."""
    return best_of(metric, (0.0, 1.0)) == 1.0 if has_direction(metric) else None


def figure_name(*parts: str) -> str:
    """Return a file name made of strings: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")[:_LONGEST_NAME].strip("-") or "figure"


def listed(names: Sequence[str]) -> str:
    """Return `a`, `a and b` or `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def legend_columns(labels: Sequence[str]) -> int:
    """Return the number of columns of a legend with these labels that fit on a phone."""
    return max(1, min(4, len(labels), 44 // (max(map(len, labels), default=1) + 5)))
