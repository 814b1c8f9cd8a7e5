"""The part of a comparison that figures can show: rows with a result, and the settings that vary between them."""

from __future__ import annotations

from dataclasses import replace

from sft.report.comparison import Comparison


def with_results(comparison: Comparison) -> Comparison:
    """Return the comparison without rows in which no run has finished. Its indices are those of the rows left."""
    kept = [index for index, row in enumerate(comparison.rows) if row.finished]
    if len(kept) == len(comparison.rows):
        return comparison
    new_index = {index: new for new, index in enumerate(kept)}
    settings = [setting._replace(values=tuple(setting.values[row] for row in kept)) for setting in comparison.settings]
    baselines = [comparison.baselines[index] if index < len(comparison.baselines) else None for index in kept]
    rows = {
        (new_index[index], metric): statistics
        for (index, metric), statistics in comparison.significance.rows.items()
        if index in new_index
    }
    return replace(
        comparison,
        rows=tuple(comparison.rows[index] for index in kept),
        settings=tuple(setting for setting in settings if len(set(setting.values)) > 1),
        best={key: tuple(new_index[row] for row in best if row in new_index) for key, best in comparison.best.items()},
        baselines=tuple(None if row is None else new_index.get(row) for row in baselines),
        significance=comparison.significance._replace(rows=rows),
    )
