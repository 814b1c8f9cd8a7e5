"""What all figures share: the record of one, its themes, and how data get into it. Knows nothing of runs.

A figure is a Vega-Lite specification as a plain dict. Its colours and fonts are no part of it but come from `THEMES`,
as Vega-Lite's `config`, so that a page switches between light and dark without another specification. Its width is that
of its container (`sized` fixes it), and it loads nothing.

Texts from data and names stand in data values, titles and domains, where Vega takes them as they are. Fields have names
of our own, tooltips too: both become part of expressions, and a field `a.b[0]` would be looked up as a path.
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

VALUES = "values"  # the name of a template's data, for whoever fills it in
HEIGHT = 300
# Okabe and Ito's colours for all kinds of colour vision; grey for their black and ochre for their yellow, which would
# vanish on a dark and on a white page.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A8A", "#A6871C")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [10, 4], [4, 1], [1, 3], [6, 2, 1, 2, 1, 2])
_LONGEST_NAME = 80
_LONGEST_TEXT = 300  # letters of a name, a label or a tooltip's line
_LONGEST_CAPTION = 1000


@dataclass(frozen=True)
class Figure:
    """A figure.

    Args:
        name: unique among those of a report, and fit to be a file's name.
        title: what it shows.
        caption: how to read it, in sentences, the most needed first.
        spec: Vega-Lite, with its data in it.
    """

    name: str
    title: str
    caption: str
    spec: Spec


def _theme(ink: str, soft: str, lines: str, ramp: Sequence[str], on_ramp: str) -> Spec:
    """Vega-Lite's `config` of a page whose text has the colour `ink`."""
    words = {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 600}
    return {
        "background": "transparent",
        "font": "sans-serif",
        "padding": 8,
        "view": {"stroke": None},
        "mark": {"invalid": "show"},  # no figure has gaps; and layers that drop none share their scales and legends
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


# `config` of a page's charts. `range.heatmap` is that of counts, from none to all; `on-ramp` the text on its dark end.
THEMES: Mapping[str, Spec] = {
    "light": _theme("#1f2328", "#59636e", "#e4e7eb", ("#f4f7fa", "#9ecae1", "#2171b5", "#08306b"), "#ffffff"),
    "dark": _theme("#e6edf3", "#a3acb5", "#343a42", ("#1c2229", "#1f4e79", "#4a97d2", "#b9e0ff"), "#0b1117"),
}


def finish(figures: Iterable[Figure]) -> tuple[Figure, ...]:
    """The figures as they are shown: each name once, texts without control characters and of bounded length."""
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
    """A specification whose texts are plain; our own already are, and shorter."""
    if isinstance(value, str):
        return _words(value, _LONGEST_TEXT)
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list | tuple) else value


def _words(text: str, most: int) -> str:
    """At most so many letters, all of which can be encoded: JSON may hold halves of some."""
    return plain(text[:most]).encode("utf-8", "replace").decode("utf-8")


def themed(spec: Spec, dark: bool = False) -> Spec:
    """The figure with the colours of a light or a dark page."""
    return {**spec, "config": THEMES["dark" if dark else "light"]}


def filled(spec: Spec, values: Sequence[Record]) -> Spec:
    """A template with its data."""
    return {**spec, "data": {"name": VALUES, "values": list(values)}}


def sized(spec: Spec, width: int) -> Spec:
    """The figure at a fixed width in pixels, its height as it is."""
    return {**spec, "width": width, "autosize": {"type": "pad"}}


def chart(layers: Sequence[Spec], values: Sequence[Record] | None = None, height: Any = HEIGHT) -> Spec:
    """Layers over each other, as wide as what holds them; without values a template.

    Args:
        layers: the lowest first.
        values: of all layers without data of their own.
        height: in pixels, or `{"step": …}` for each row where their number is not known (Vega-Lite then says on a
            page's console that it fits the width alone).
    """
    data: Spec = {"name": VALUES} if values is None else {"name": VALUES, "values": list(values)}
    fit = {"type": "fit-x", "contains": "padding"}
    return {"width": "container", "height": height, "autosize": fit, "data": data, "layer": list(layers)}


def tooltip(entries: Mapping[str, str], formats: Mapping[str, str] | None = None) -> list[Spec]:
    """Lines of a tooltip: field -> what it is called, both words of ours.

    Never `title` or `image`: the tooltips of a page would show the first as a heading and fetch the second.
    """
    known = formats or {}
    return [
        {"field": field, "title": name, **({"format": known[field]} if field in known else {})}
        for field, name in entries.items()
    ]


def in_order(field: str, looks: Sequence[object]) -> Spec:
    """A channel that gives the values of a field, in the order in which they come, one of some looks each.

    For templates, whose values are not known. There layers take different channels (`fill`, `stroke`, `color`), all
    with the legend: Vega-Lite then makes one of them, with the shapes in it.
    """
    legend = {"columns": 2, "symbolOpacity": 1}
    scale = {"range": list(looks)}
    return {"field": field, "type": "nominal", "sort": None, "title": None, "scale": scale, "legend": legend}


def metric_format(metric: str) -> str:
    """How d3 writes a metric's values: as many decimals as tables show."""
    return f".{len(number(0.0, metric).partition('.')[2])}f"


def metric_title(metric: str) -> str:
    """A metric's name on an axis; which way is better is said where it is down."""
    return title(metric) if is_better_up(metric) is not False else f"{title(metric)} (lower is better)"


def is_better_up(metric: str) -> bool | None:
    """Whether more of a metric is better; None where that is not known."""
    return best_of(metric, (0.0, 1.0)) == 1.0 if has_direction(metric) else None


def figure_name(*parts: str) -> str:
    """A file's name of some texts: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")[:_LONGEST_NAME].strip("-") or "figure"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def legend_columns(labels: Sequence[str]) -> int:
    """In how many columns a legend of these labels fits on a phone."""
    return max(1, min(4, len(labels), 44 // (max(map(len, labels), default=1) + 5)))
