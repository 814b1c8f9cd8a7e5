"""The values of a metric of one row of the table: the one source of the CSV and the JSON. Formats nothing."""

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
    """All of `VALUES`, and `n`, of a metric on the test split; None for what is not known, also where no run has it.

    `difference` is that of the means where no test was made: of AUROC, which is no mean over rows, there is no test.
    """
    found, known = comparison.rows[index].estimate(metric), comparison.significance_of(index, metric)
    return {
        "mean": None if found is None else found.mean,
        "std": None if found is None else found.std,
        "n": None if found is None else found.n,
        **_bounds("ci", known.interval),
        "ci_method": None if known.interval is None else known.interval.method,
        "difference": comparison.difference(index, metric),
        **_contrast(known.contrast),
        "tied_with_best": known.tied_with_best,
        **_gap(known.to_best),
        "best": None if found is None else index in comparison.best.get(metric, ()),
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
