"""The template of a reliability diagram: records `{kind, confidence, accuracy, rows}`, one for each bin with rows.

`kind` names the probabilities (`calibrated`, `uncalibrated`); there are at most two kinds. Guo et al. 2017, "On
Calibration of Modern Neural Networks", arXiv 1706.04599.
"""

from __future__ import annotations

from sft.report.figures.base import DASHES, PALETTE, SHAPES, Spec, chart, in_order, tooltip

BINS = 15
_FLOOR = -0.3  # bottom of the histogram's bars on the accuracy axis
_TALLEST = 0.22


def reliability() -> Spec:
    """Return the template: accuracy over confidence, the diagonal of perfect calibration, and below a histogram."""
    x = {"field": "confidence", "type": "quantitative", "title": "confidence",
         "scale": {"domain": [0, 1]}, "axis": {"grid": False, "tickCount": 6}}  # fmt: skip
    y = {"field": "accuracy", "type": "quantitative", "title": "accuracy",
         "scale": {"domain": [_FLOOR, 1], "nice": False},
         "axis": {"values": [0, 0.2, 0.4, 0.6, 0.8, 1], "format": ".1f"}}  # fmt: skip
    lines = tooltip(
        {"kind": "probabilities", "confidence": "mean confidence", "accuracy": "accuracy", "rows": "rows"},
        {"confidence": ".3f", "accuracy": ".3f"},
    )
    colour, dash = in_order("kind", PALETTE[:2]), in_order("kind", DASHES[:2])
    point = {"color": in_order("kind", PALETTE[:2]), "shape": in_order("kind", SHAPES[:2])}
    bar = {"x": {**x, "field": "left"}, "x2": {"field": "right"}, "y": {**y, "field": "top"}, "y2": {"field": "floor"}}
    diagonal = [{"confidence": 0, "accuracy": 0}, {"confidence": 1, "accuracy": 1}]
    return {
        **chart(
            [
                {"mark": {"type": "rect", "opacity": 0.45}, "encoding": {**bar, "fill": colour, "tooltip": lines}},
                {"data": {"values": [{"accuracy": _FLOOR + _TALLEST, "note": "rows in each bin"}]},
                 "mark": {"type": "text", "style": "note", "align": "left", "baseline": "top"},
                 "encoding": {"x": {"value": 6}, "y": y, "text": {"field": "note"}}},
                {"data": {"values": diagonal}, "mark": {"type": "line", "style": "reference"},
                 "encoding": {"x": x, "y": y}},
                {"mark": {"type": "line", "strokeWidth": 2},
                 "encoding": {"x": x, "y": y, "stroke": colour, "strokeDash": dash}},
                {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
                 "encoding": {"x": x, "y": y, **point, "tooltip": lines}},
            ],
            height=320,
        ),
        "transform": _bars(),
    }  # fmt: skip


def _bars() -> list[Spec]:
    """Return the positions of the histogram's bars: around the mean confidence of their bin, one half for each kind."""
    half = 0.4 / BINS
    return [
        {"joinaggregate": [{"op": "max", "field": "rows", "as": "most"}]},
        {"window": [{"op": "dense_rank", "as": "kind_index"}], "sort": [{"field": "kind"}]},
        {"joinaggregate": [{"op": "max", "field": "kind_index", "as": "kinds"}]},
        {"calculate": f"datum.confidence - {half} + (datum.kind_index - 1) * {2 * half} / datum.kinds", "as": "left"},
        {"calculate": f"datum.left + {2 * half} / datum.kinds", "as": "right"},
        {"calculate": f"{_FLOOR}", "as": "floor"},
        {"calculate": f"{_FLOOR} + {_TALLEST} * datum.rows / max(1, datum.most)", "as": "top"},
    ]
