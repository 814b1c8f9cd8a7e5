"""The template of scores per label: records `{label, precision, recall, f1, rows}`, in the order of the labels."""

from __future__ import annotations

from collections.abc import Sequence

from sft.report.figures.base import PALETTE, Spec, chart, tooltip

_SCORES = ("f1", "precision", "recall")


def per_label() -> Spec:
    """Return the template: a line for each label with F1, precision and recall, and its number of rows in brackets."""
    y = {"field": "name", "type": "nominal", "title": None, "sort": None,
         "axis": {"grid": True, "ticks": False, "domain": False, "labelLimit": 200}}  # fmt: skip
    x = {
        "field": "value",
        "type": "quantitative",
        "title": "score",
        "scale": {"domain": [0, 1]},
        "axis": {"tickCount": 6},
    }
    lines = tooltip(
        {"label": "label", "f1": "F1", "precision": "precision", "recall": "recall", "rows": "rows"},
        dict.fromkeys(_SCORES, ".3f"),
    )

    def by_score(values: Sequence[object]) -> Spec:
        return {"field": "kind", "type": "nominal", "title": None, "legend": {"columns": 3},
                "scale": {"domain": ["F1", "precision", "recall"], "range": list(values)}}  # fmt: skip

    colour, shape = by_score(PALETTE[:3]), by_score(("circle", "triangle-right", "diamond"))
    span = {"y": y, "x": {**x, "field": "lowest"}, "x2": {"field": "highest"}}
    return {
        **chart(
            [
                {"mark": {"type": "rule", "style": "reference", "strokeDash": [1, 0]}, "encoding": span},
                {"mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                 "encoding": {"y": y, "x": x, "color": colour, "shape": shape, "tooltip": lines}},
            ],
            height={"step": 24},
        ),
        "transform": [
            {"calculate": "datum.label + ' (' + datum.rows + ')'", "as": "name"},
            {"calculate": "min(datum.precision, datum.recall)", "as": "lowest"},
            {"calculate": "max(datum.precision, datum.recall)", "as": "highest"},
            {"calculate": "{'F1': datum.f1, 'precision': datum.precision, 'recall': datum.recall}", "as": "scores"},
            {"calculate": "['F1', 'precision', 'recall']", "as": "kind"},
            {"flatten": ["kind"]},
            {"calculate": "datum.scores[datum.kind]", "as": "value"},
        ],
    }  # fmt: skip
