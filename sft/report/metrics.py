"""Properties of metrics: which are shown, their titles, their scales, and whether higher is better."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sft.config.sections.schema import ExperimentConfig
from sft.task_types import TASK_TYPES

HARNESS = "lm_eval."  # prefix of metrics of evaluation.lm_eval: lm_eval.<task>.<metric>

# Shown in tables, in this order, where a run has them; aggregated_results.json holds all.
HEADLINE_METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "sample_f1": "sample F1",
    "subset_accuracy": "subset accuracy",
    "ece": "ECE",
    "exact_match": "exact match",
    "token_f1": "token F1",
    "rougeL": "ROUGE-L",
    "bleu": "BLEU",
    "chrf": "chrF",
}
_TITLES = {
    **HEADLINE_METRICS, "micro_f1": "micro F1", "weighted_f1": "weighted F1", "macro_precision": "macro precision",
    "macro_recall": "macro recall", "mcc": "MCC", "brier": "Brier", "log_loss": "log-loss", "auroc": "AUROC",
    "question_accuracy": "question accuracy", "balanced_accuracy": "balanced accuracy", "cohen_kappa": "Cohen's kappa",
    "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "bertscore_f1": "BERTScore F1", "ter": "TER",
    "unfinished_answers": "unfinished answers",
}  # fmt: skip
_TO_HUNDRED = frozenset({"bleu", "chrf", "ter"})
_LOWER_IS_BETTER = frozenset({"ece", "ter", "brier", "log_loss"})
_HIGHER_IS_BETTER = frozenset({
    *HEADLINE_METRICS, "micro_f1", "weighted_f1", "macro_precision", "macro_recall", "mcc", "auroc",
    "question_accuracy", "balanced_accuracy", "cohen_kappa", "rouge1", "rouge2", "bertscore_f1",
}) - _LOWER_IS_BETTER  # fmt: skip
_ALWAYS_THERE = frozenset[str]().union(*(task.metrics for task in TASK_TYPES.values()))
# Metrics of lm-eval's tasks -> our metrics with the same direction and scale.
_LIKE = {
    "acc": "accuracy", "exact_match": "exact_match", "em": "exact_match", "f1": "token_f1", "mcc": "mcc",
    "bleu": "bleu", "chrf": "chrf", "ter": "ter", "rouge1": "rouge1", "rouge2": "rouge2", "rougeL": "rougeL",
    "mc1": "accuracy", "mc2": "accuracy", "brier_score": "brier", "perplexity": "log_loss", "ppl": "log_loss",
    "word_perplexity": "log_loss", "byte_perplexity": "log_loss", "bits_per_byte": "log_loss",
}  # fmt: skip
_HIGHER_BY_TASK: dict[str, bool] = {}  # by metric, from the task's own definition
_ABOUT_A_TASK = ("n", "num_fewshot", "version")
_STDERR = "_stderr"


def title(metric: str) -> str:
    """Return a metric's name as a column header."""
    if metric.startswith(HARNESS):
        return metric.removeprefix(HARNESS).replace(".", " ")
    return _TITLES.get(metric, metric)


def learn_direction(metric: str, higher_is_better: bool) -> None:
    """Record whether higher is better for a metric of lm-eval, as its task defines it."""
    _HIGHER_BY_TASK[metric] = higher_is_better


def like(metric: str) -> str:
    """Return our metric with the direction and scale of one of lm-eval, whose name may have a suffix (`acc_norm`)."""
    if not metric.startswith(HARNESS):
        return metric
    parts = metric.rpartition(".")[2].split("_")
    names = ("_".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((_LIKE[name] for name in names if name in _LIKE), metric)


def is_asked_for(metric: str, config: ExperimentConfig) -> bool:
    """Whether `evaluation.metrics` or `evaluation.lm_eval` names a metric."""
    if metric.startswith(HARNESS):
        return True
    return bool(config.evaluation.metrics) and metric not in config.dataset.task.metrics


def has_direction(metric: str) -> bool:
    """Whether it is known if higher is better. It is unknown for metrics of the user's own."""
    return metric in _HIGHER_BY_TASK or like(metric) in _HIGHER_IS_BETTER | _LOWER_IS_BETTER


def bounds(metric: str) -> tuple[float, float | None] | None:
    """Return the smallest and the largest possible value (None: no largest); None for an unknown metric."""
    of_harness, metric = metric.startswith(HARNESS), like(metric)
    if of_harness and metric == "token_f1":
        return 0.0, None  # some tasks use a scale to 100
    if metric in _TO_HUNDRED:
        return 0.0, None if metric == "ter" else 100.0
    if metric in ("mcc", "cohen_kappa"):
        return -1.0, 1.0
    if metric in ("log_loss", "brier"):
        return 0.0, None
    known = _HIGHER_IS_BETTER | _LOWER_IS_BETTER | _ALWAYS_THERE
    return (0.0, 1.0) if metric in known else None


def best_of(metric: str, means: Sequence[float]) -> float | None:
    """Return the best of several means; None if it is unknown whether higher is better."""
    if not has_direction(metric):
        return None
    return max(means) if _HIGHER_BY_TASK.get(metric, like(metric) in _HIGHER_IS_BETTER) else min(means)


def number(value: float | None, metric: str = "") -> str:
    """Format with three decimals without the leading zero; with one decimal for metrics on a scale to 100."""
    if value is None:
        return "-"
    if like(metric) in _TO_HUNDRED:
        text = f"{value:.1f}"
        return "0.0" if text == "-0.0" else text
    text = f"{value:.3f}"
    if text == "-0.000":
        return ".000"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def signed(difference: float, metric: str) -> str:
    """Format a difference with plus or minus; zero is `+.000`."""
    text = number(difference, metric)
    return text if text.startswith("-") else f"+{text}"


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that are plain numbers, including those of lm-eval's tasks. Names are interned."""
    found = {sys.intern(key): float(value) for key, value in values.items() if _is_number(value)}
    tasks = values.get(HARNESS.rstrip("."))
    for task, figures in (tasks if isinstance(tasks, dict) else {}).items():
        metrics = {key: value for key, value in figures.items() if _is_number(value) and key not in _ABOUT_A_TASK}
        found |= {
            sys.intern(f"{HARNESS}{task}.{key}"): float(value)
            for key, value in metrics.items()
            if not key.endswith(_STDERR)
        }
        for key, higher in (figures.get("higher_is_better") or {}).items():
            if isinstance(higher, bool):
                learn_direction(f"{HARNESS}{task}.{key}", higher)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
