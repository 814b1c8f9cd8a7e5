"""The effect of calibration on each configuration: its calibration error, or log-loss, before and after."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence

from sft.report.comparison import Comparison, Row
from sft.report.figures.base import PALETTE, Figure, Record, Spec, chart, figure_name, metric_format, tooltip
from sft.report.figures.configurations import row_axis, row_labels, rows_height
from sft.report.figures.settings import about
from sft.report.metrics import title

MOST_ROWS = 40
_METRICS = ("ece", "log_loss")
_BEFORE, _AFTER = "before calibration", "after calibration"


def calibrations(comparison: Comparison) -> Iterator[Figure]:
    """Yield a figure for each of the two metrics, if runs have it before and after calibration."""
    if comparison.calibration is not None:  # the report does not show the runs' own calibration
        return
    for metric in _METRICS:
        means = [(index, *pair) for index, row in enumerate(comparison.rows) if (pair := _pair(row, metric))]
        if means:
            yield _figure(comparison, metric, sorted(means, key=lambda mean: mean[2])[:MOST_ROWS], len(means))


def _pair(row: Row, metric: str) -> tuple[float, float] | None:
    """Return the row's means before and after calibration, over the runs that have both."""
    before, after = [], []
    for run in row.runs:
        # parsing a record is expensive, and most runs are not calibrated
        if run.result is None or metric not in run.metrics() or b'"uncalibrated"' not in run.result.record:
            continue
        uncalibrated = (json.loads(run.result.record)["results"].get("uncalibrated") or {}).get(metric)
        if isinstance(uncalibrated, int | float):
            before.append(float(uncalibrated))
            after.append(run.metrics()[metric])
    return (statistics.fmean(before), statistics.fmean(after)) if before else None


def _figure(comparison: Comparison, metric: str, means: list[tuple[int, float, float]], total: int) -> Figure:
    labels = row_labels(comparison, [index for index, _, _ in means])
    records = [
        {"row": label, "about": about(comparison, index), "before": round(before, 6), "after": round(after, 6)}
        for label, (index, before, after) in zip(labels, means, strict=True)
    ]
    caption = "Mean over seeds before and after calibration, best first; lower is better."
    if total > len(means):
        caption += f" The best {len(means)} of {total}."
    spec = chart(_layers(metric, labels, records), records, rows_height(labels))
    return Figure(figure_name("calibration", metric), f"{title(metric)} before and after calibration", caption, spec)


def _layers(metric: str, labels: Sequence[str], records: list[Record]) -> list[Spec]:
    shown = metric_format(metric)
    lines = tooltip({"about": "settings", "before": _BEFORE, "after": _AFTER}, {"before": shown, "after": shown})
    x = {
        "type": "quantitative",
        "title": f"{title(metric)} (lower is better)",
        "axis": {"tickCount": 8, "labelOverlap": "greedy", "labelSeparation": 8},
    }
    y = row_axis(labels)

    def by_state(values: tuple[str, str]) -> Spec:
        return {"field": "state", "type": "nominal", "title": None, "legend": {"columns": 2},
                "scale": {"domain": [_BEFORE, _AFTER], "range": list(values)}}  # fmt: skip

    def point(field: str, state: str) -> Spec:
        return {"transform": [{"calculate": f"'{state}'", "as": "state"}],
                "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                "encoding": {"y": y, "x": {**x, "field": field}, "color": by_state((PALETTE[1], PALETTE[0])),
                             "shape": by_state(("square", "circle")), "tooltip": lines}}  # fmt: skip

    span = {"y": y, "x": {**x, "field": "before"}, "x2": {"field": "after"}}
    return [
        {"mark": {"type": "rule", "style": "reference", "strokeDash": [1, 0]}, "encoding": span},
        point("before", _BEFORE),
        point("after", _AFTER),
    ]
