"""Every configuration with its interval, best first: what can be told apart, and from what."""

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
BEST, TIED, WORSE, UNTESTED = "best", "on a par with it", "differs from it", "not tested"
_LOOKS = {BEST: ("#0072B2", "diamond"), TIED: ("#E69F00", "circle"), WORSE: ("#8A8A8A", "square"),
          UNTESTED: ("#8A8A8A", "circle")}  # fmt: skip


def forest(comparison: Comparison) -> Iterator[Figure]:
    """A figure of the leading metric, where there are two rows or more."""
    for metric in comparison.metrics[:1]:
        order = _order(comparison, metric)
        if len(order) > 1:
            yield _figure(comparison, metric, order)


def _order(comparison: Comparison, metric: str) -> list[int]:
    """The rows that have the metric, best first; in their own order where it is not known which way is better."""
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
    judged = comparison.significance_of(index, metric)
    against = comparison.baseline_of(index)
    base = None if against is None else comparison.rows[against].estimate(metric)
    assert found is not None  # noqa: S101 - only rows that have the metric are ordered
    return {
        "row": label,
        "mean": round(found.mean, 6),
        "low": None if judged.interval is None else round(judged.interval.low, 6),
        "high": None if judged.interval is None else round(judged.interval.high, 6),
        "method": "" if judged.interval is None else judged.interval.method,
        "runs": found.n,
        "group": _group(comparison, metric, index),
        "about": about(comparison, index),
        "base": None if base is None else round(base.mean, 6),
        "p": None if judged.contrast is None else judged.contrast.p_holm,
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

    def by_group(place: int) -> Spec:
        scale = {"domain": groups, "range": [_LOOKS[group][place] for group in groups]}
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
    """One line down the figure, or a tick for each row where rows have different baselines."""
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
    some = [record for record in records if record["low"] is not None]
    said = ["Mean and 95 % interval of each configuration." if some else "Mean of each configuration."]
    methods = list(dict.fromkeys(record["method"] for record in some))
    if methods:
        said.append(f"Interval: {'; '.join(methods)}.")
    if some and any(record["group"] in (TIED, WORSE) for record in records):
        said.append(
            "What differs from the best is tested in pairs, by rows and seeds: intervals may overlap all the same."
        )
    bases = {record["base"] for record in records} - {None}
    if len(bases) == 1:
        said.append("The dashed line is the baseline.")
    elif bases:
        said.append("A tick stands at the mean of the baseline that the row is compared with.")
    if dropped:
        said.append(f"The best {len(records)} of {len(records) + dropped}.")
    if comparison.chosen_on == "validation" and metric in comparison.best:
        said.append("The best was chosen on the validation split.")
    return " ".join(said)
