"""Every configuration with its interval, best first, coloured by its test against the best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sft.report.comparison import Comparison
from sft.report.figures.base import (
    Figure,
    Record,
    Spec,
    chart,
    figure_name,
    is_better_up,
    legend_columns,
    metric_format,
    metric_title,
    tooltip,
)
from sft.report.figures.configurations import row_axis, row_labels, rows_height
from sft.report.figures.settings import about
from sft.report.metrics import title

MOST_ROWS = 40
BEST, TIED, WORSE, UNTESTED = "best", "not significantly different", "significantly different", "not tested"
_LOOKS = {BEST: ("#0072B2", "diamond"), TIED: ("#E69F00", "circle"), WORSE: ("#8A8A8A", "square"),
          UNTESTED: ("#8A8A8A", "circle")}  # fmt: skip


def forest(comparison: Comparison) -> Iterator[Figure]:
    """Yield a figure of the leading metric, if there are at least two rows."""
    for metric in comparison.metrics[:1]:
        order = _order(comparison, metric)
        if len(order) > 1:
            yield _figure(comparison, metric, order)


def _order(comparison: Comparison, metric: str) -> list[int]:
    """Return the rows that have the metric, best first; in table order if it is unknown whether higher is better."""
    means = {i: found.mean for i, row in enumerate(comparison.rows) if (found := row.estimate(metric)) is not None}
    up = is_better_up(metric)
    return list(means) if up is None else sorted(means, key=lambda i: -means[i] if up else means[i])


def _figure(comparison: Comparison, metric: str, order: Sequence[int]) -> Figure:
    shown = list(order[:MOST_ROWS])
    labels = row_labels(comparison, shown)
    records = [_record(comparison, metric, index, label) for index, label in zip(shown, labels, strict=True)]
    caption = _caption(comparison, metric, records, len(order) - len(shown))
    spec = chart(_layers(metric, labels, records), records, rows_height(labels))
    which = f"the {len(shown)} best configurations" if len(order) > len(shown) else "all configurations"
    return Figure(figure_name("intervals", metric), f"{title(metric)} of {which}", caption, spec)


def _record(comparison: Comparison, metric: str, index: int, label: str) -> Record:
    found = comparison.rows[index].estimate(metric)
    significance = comparison.significance_of(index, metric)
    baseline = comparison.baseline_of(index)
    base = None if baseline is None else comparison.rows[baseline].estimate(metric)
    assert found is not None  # noqa: S101 - `_order` returns only rows that have the metric
    return {
        "row": label,
        "mean": round(found.mean, 6),
        "low": None if significance.interval is None else round(significance.interval.low, 6),
        "high": None if significance.interval is None else round(significance.interval.high, 6),
        "method": "" if significance.interval is None else significance.interval.method,
        "runs": found.n,
        "group": _group(comparison, metric, index),
        "about": about(comparison, index),
        "base": None if base is None else round(base.mean, 6),
        "p": None if significance.contrast is None else significance.contrast.p_holm,
    }


def _group(comparison: Comparison, metric: str, index: int) -> str:
    if index in comparison.best.get(metric, ()):
        return BEST
    tied = comparison.significance_of(index, metric).tied_with_best
    return UNTESTED if tied is None else TIED if tied else WORSE


def _layers(metric: str, labels: Sequence[str], records: Sequence[Record]) -> list[Spec]:
    shown = metric_format(metric)
    x = {
        "type": "quantitative",
        "title": metric_title(metric),
        "scale": {"zero": False, "nice": True},
        "axis": {"tickCount": 8, "labelOverlap": "greedy", "labelSeparation": 8},
    }
    y = row_axis(labels)
    lines = tooltip(
        {"row": "configuration", "about": "settings", "mean": "mean", "low": "from", "high": "to", "method": "interval",
         "runs": "runs", "group": "against the best", "p": "p against the baseline (corrected)"},
        {"mean": shown, "low": shown, "high": shown, "p": ".3g"},
    )  # fmt: skip
    groups = [group for group in _LOOKS if any(record["group"] == group for record in records)]
    legend = {"title": None, "columns": legend_columns(groups)} if groups != [UNTESTED] else None

    def by_group(look: int) -> Spec:
        scale = {"domain": groups, "range": [_LOOKS[group][look] for group in groups]}
        return {"field": "group", "type": "nominal", "scale": scale, "legend": legend}

    interval = {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": by_group(0), "tooltip": lines}
    point = {"y": y, "x": {**x, "field": "mean"}, "color": by_group(0), "shape": by_group(1), "tooltip": lines}
    whole: list[Spec] = [{"filter": "isValid(datum.low)"}]
    return [
        *_baseline(records, x, y),
        {"transform": whole, "mark": {"type": "rule", "strokeWidth": 2.5}, "encoding": interval},
        {"mark": {"type": "point", "filled": True, "size": 90, "opacity": 1}, "encoding": point},
    ]


def _baseline(records: Sequence[Record], x: Spec, y: Spec) -> list[Spec]:
    """Return one vertical line, or a tick for each row if rows have different baselines."""
    bases = {record["base"] for record in records} - {None}
    if len(bases) == 1:
        mark = {"type": "rule", "style": "reference"}
        values: Spec = {"data": {"values": [{"base": base} for base in bases]}}
        return [{**values, "mark": mark, "encoding": {"x": {**x, "field": "base"}}}]
    if bases:
        tick: Spec = {"type": "tick", "style": "reference", "strokeDash": [1, 0], "thickness": 2, "size": 14}
        ticks: list[Spec] = [{"filter": "isValid(datum.base)"}]
        return [{"transform": ticks, "mark": tick, "encoding": {"x": {**x, "field": "base"}, "y": y}}]
    return []


def _caption(comparison: Comparison, metric: str, records: Sequence[Record], dropped: int) -> str:
    with_interval = [record for record in records if record["low"] is not None]
    sentences = ["Mean and 95 % interval of each configuration." if with_interval else "Mean of each configuration."]
    methods = list(dict.fromkeys(record["method"] for record in with_interval))
    if methods:
        sentences.append(f"Interval: {'; '.join(methods)}.")
    if with_interval and any(record["group"] in (TIED, WORSE) for record in records):
        sentences.append(
            "Colours: paired test against the best, over rows and seeds. Intervals may overlap even if rows differ."
        )
    bases = {record["base"] for record in records} - {None}
    if len(bases) == 1:
        sentences.append("The dashed line is the baseline.")
    elif bases:
        sentences.append("A tick marks the mean of the row's baseline.")
    if dropped:
        sentences.append(f"The best {len(records)} of {len(records) + dropped}.")
    if comparison.chosen_on == "validation" and metric in comparison.best:
        sentences.append("The best was chosen on the validation split.")
    return " ".join(sentences)
