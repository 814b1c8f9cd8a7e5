"""The values of a metric of a row of the table: the single source of the CSV and the JSON. Formats nothing."""

from __future__ import annotations

from typing import Any

from sft.report.comparison import Comparison
from sft.report.significance import Contrast, Gap, Interval

VALUES = (
    "mean", "std", "best", "ci_low", "ci_high", "ci_method", "difference", "difference_ci_low", "difference_ci_high",
    "effect_size", "p_value", "p_holm", "test", "these_models_p_value", "these_models_p_holm", "these_models_test",
    "tied_with_best", "to_best_difference", "to_best_ci_low", "to_best_ci_high", "to_best_p_holm",
)  # fmt: skip
FLAGS = ("best", "tied_with_best")  # booleans
TEXTS = ("ci_method", "test", "these_models_test")


def values_of(comparison: Comparison, index: int, metric: str) -> dict[str, Any]:
    """Return all of `VALUES`, and `n`, of a metric on the test split; None for unknown values.

    Without a test, `difference` is the difference of the means. AUROC has no test, since it is not a mean over rows.
    """
    estimate, significance = comparison.rows[index].estimate(metric), comparison.significance_of(index, metric)
    return {
        "mean": None if estimate is None else estimate.mean,
        "std": None if estimate is None else estimate.std,
        "n": None if estimate is None else estimate.n,
        **_bounds("ci", significance.interval),
        "ci_method": None if significance.interval is None else significance.interval.method,
        "difference": comparison.difference(index, metric),
        **_contrast(significance.contrast),
        "tied_with_best": significance.tied_with_best,
        **_gap(significance.to_best),
        "best": None if estimate is None else index in comparison.best.get(metric, ()),
    }


def _contrast(contrast: Contrast | None) -> dict[str, Any]:
    if contrast is None:
        return {name: None for name in VALUES if name.startswith(_OF_CONTRASTS)}
    return {
        **_bounds("difference_ci", contrast.interval),
        "effect_size": contrast.effect_size,
        "p_value": contrast.p_value,
        "p_holm": contrast.p_holm,
        "test": contrast.test or None,
        **{f"these_models_{name}": value for name, value in contrast.models._asdict().items()},
    }


_OF_CONTRASTS = ("difference_ci", "effect_size", "p_value", "p_holm", "test", "these_models")


def _gap(gap: Gap | None) -> dict[str, Any]:
    return {
        "to_best_difference": None if gap is None else gap.difference,
        **_bounds("to_best_ci", None if gap is None else gap.interval),
        "to_best_p_holm": None if gap is None else gap.p_holm,
    }


def _bounds(name: str, interval: Interval | None) -> dict[str, float | None]:
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return {f"{name}_low": low, f"{name}_high": high}
