"""The part of a comparison that figures can show: rows with a result, and what varies between those."""

from __future__ import annotations

from dataclasses import replace

from sft.report.comparison import Comparison


def with_results(comparison: Comparison) -> Comparison:
    """The same comparison without the rows in which no run has finished; its places are those of the rows left."""
    kept = [index for index, row in enumerate(comparison.rows) if row.finished]
    if len(kept) == len(comparison.rows):
        return comparison
    places = {index: place for place, index in enumerate(kept)}
    settings = [one._replace(values=tuple(one.values[index] for index in kept)) for one in comparison.settings]
    baselines = [comparison.baselines[index] if index < len(comparison.baselines) else None for index in kept]
    judged = comparison.significance.rows.items()
    rows = {(places[index], metric): found for (index, metric), found in judged if index in places}
    return replace(
        comparison,
        rows=tuple(comparison.rows[index] for index in kept),
        settings=tuple(one for one in settings if len(set(one.values)) > 1),
        best={key: tuple(places[one] for one in best if one in places) for key, best in comparison.best.items()},
        baselines=tuple(None if one is None else places.get(one) for one in baselines),
        significance=comparison.significance._replace(rows=rows),
    )
