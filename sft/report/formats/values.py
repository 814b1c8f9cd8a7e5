"""The values of a metric of one row of the table: the one source of the CSV and the JSON. Formats nothing."""

from __future__ import annotations

from typing import Any

from sft.report.comparison import Comparison
from sft.report.judged.judgement import Interval

VALUES = (
    "mean", "std", "best", "ci_low", "ci_high", "ci_method", "difference", "effect_size", "p_value", "p_holm", "test",
    "difference_over_seeds_low", "difference_over_seeds_high",
    "tied_with_best", "to_best_over_seeds_low", "to_best_over_seeds_high",
)  # fmt: skip


def values_of(comparison: Comparison, index: int, metric: str) -> dict[str, Any]:
    """All of `VALUES`, and `n`, of a metric on the test split; None for what is not known, also where no run has it.

    `difference` is that of the means where no test was made: of AUROC, which is no mean over rows, there is no test.
    """
    found, judgement = comparison.rows[index].estimate(metric), comparison.judgement(index, metric)
    contrast = judgement.contrast
    return {
        "mean": None if found is None else found.mean,
        "std": None if found is None else found.std,
        "n": None if found is None else found.n,
        **_bounds("ci", judgement.interval),
        "ci_method": None if judgement.interval is None else judgement.interval.method,
        "difference": comparison.difference(index, metric),
        "effect_size": None if contrast is None else contrast.effect_size,
        "p_value": None if contrast is None else contrast.p_value,
        "p_holm": None if contrast is None else contrast.p_holm,
        "test": None if contrast is None else contrast.test,
        **_bounds("difference_over_seeds", None if contrast is None else contrast.over_seeds),
        "tied_with_best": judgement.tied_with_best,
        **_bounds("to_best_over_seeds", judgement.to_best_over_seeds),
        "best": None if found is None else index in comparison.best.get(metric, ()),
    }


def _bounds(name: str, interval: Interval | None) -> dict[str, float | None]:
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return {f"{name}_low": low, f"{name}_high": high}
