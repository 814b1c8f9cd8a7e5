"""What the report knows of metrics: which are shown, on what scale, and which way is better."""

from __future__ import annotations

from collections.abc import Sequence

# Shown in tables, in this order, where a run has them; aggregated_results.json holds all.
HEADLINE_METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "sample_f1": "sample F1",
    "subset_accuracy": "whole set",
    "ece": "ECE",
    "exact_match": "exact match",
    "token_f1": "token F1",
    "rougeL": "ROUGE-L",
    "bleu": "BLEU",
    "chrf": "chrF",
}
_TO_HUNDRED = frozenset({"bleu", "chrf", "ter"})
_HIGHER_IS_BETTER = frozenset({*HEADLINE_METRICS, "rouge1", "rouge2", "balanced_accuracy", "cohen_kappa"}) - {"ece"}
_LOWER_IS_BETTER = frozenset({"ece", "ter"})
# What every run of a kind of task has; the rest was asked for by evaluation.metrics.
_ALWAYS_THERE = {
    "classification": {
        "accuracy", "macro_f1", "micro_f1", "weighted_f1", "macro_precision", "macro_recall", "mcc", "ece", "brier",
        "log_loss", "auroc",
    },
    "multilabel": {
        "macro_f1", "micro_f1", "sample_f1", "subset_accuracy", "question_accuracy", "threshold",
    },
    "generation": {
        "exact_match", "token_f1", "rouge1", "rouge2", "rougeL", "bleu", "chrf", "bertscore_f1",
        "unfinished_answers",
    },
}  # fmt: skip


def title(metric: str) -> str:
    """A metric as a column's header."""
    return HEADLINE_METRICS.get(metric, metric)


def is_asked_for(metric: str, task_type: str) -> bool:
    """Whether a metric is there because `evaluation.metrics` names it."""
    return metric not in _ALWAYS_THERE[task_type]


def has_direction(metric: str) -> bool:
    """Whether it is known which way is better; not so for a metric of the user's own."""
    return metric in _HIGHER_IS_BETTER | _LOWER_IS_BETTER


def best_of(metric: str, means: Sequence[float]) -> float | None:
    """The best of some means; None where it is not known which way is better."""
    if metric in _HIGHER_IS_BETTER:
        return max(means)
    return min(means) if metric in _LOWER_IS_BETTER else None


def number(value: float | None, metric: str = "") -> str:
    """Three decimals without the leading zero; one decimal for the metrics on a scale to 100."""
    if value is None:
        return "-"
    if metric in _TO_HUNDRED:
        text = f"{value:.1f}"
        return "0.0" if text == "-0.0" else text
    text = f"{value:.3f}"
    if text == "-0.000":
        return ".000"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def signed(difference: float, metric: str) -> str:
    """A difference with its sign, `+.000` for none."""
    text = number(difference, metric)
    return text if text.startswith("-") else f"+{text}"
