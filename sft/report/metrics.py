"""What the report knows of metrics: which are shown, on what scale, and which way is better."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sft.config.sections.schema import ExperimentConfig
from sft.task_types import TASK_TYPES

HARNESS = "lm_eval."  # begins the name of a metric of evaluation.lm_eval: lm_eval.<task>.<metric>

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
# Metrics of lm-eval's tasks, and those of ours that they are like: in which way is better, and on what scale.
_LIKE = {
    "acc": "accuracy", "exact_match": "exact_match", "em": "exact_match", "f1": "token_f1", "mcc": "mcc",
    "bleu": "bleu", "chrf": "chrf", "ter": "ter", "rouge1": "rouge1", "rouge2": "rouge2", "rougeL": "rougeL",
    "mc1": "accuracy", "mc2": "accuracy", "brier_score": "brier", "perplexity": "log_loss", "ppl": "log_loss",
    "word_perplexity": "log_loss", "byte_perplexity": "log_loss", "bits_per_byte": "log_loss",
}  # fmt: skip
_TOLD: dict[str, bool] = {}  # by name: a task says it once and for all
_ABOUT_A_TASK = ("n", "num_fewshot", "version")
_STDERR = "_stderr"


def title(metric: str) -> str:
    """A metric as a column's header."""
    if metric.startswith(HARNESS):
        return metric.removeprefix(HARNESS).replace(".", " ")
    return _TITLES.get(metric, metric)


def learn_direction(metric: str, higher_is_better: bool) -> None:
    """Which way a metric of lm-eval is better, by its task's own word."""
    _TOLD[metric] = higher_is_better


def like(metric: str) -> str:
    """The metric of ours that one of lm-eval is like, which may have a variant's name behind its own (`acc_norm`)."""
    if not metric.startswith(HARNESS):
        return metric
    parts = metric.rpartition(".")[2].split("_")
    names = ("_".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((_LIKE[name] for name in names if name in _LIKE), metric)


def is_asked_for(metric: str, config: ExperimentConfig) -> bool:
    """Whether a metric is there because `evaluation.metrics` or `evaluation.lm_eval` names it."""
    if metric.startswith(HARNESS):
        return True
    return bool(config.evaluation.metrics) and metric not in config.dataset.task.metrics


def has_direction(metric: str) -> bool:
    """Whether it is known which way is better; not so for a metric of the user's own."""
    return metric in _TOLD or like(metric) in _HIGHER_IS_BETTER | _LOWER_IS_BETTER


def bounds(metric: str) -> tuple[float, float | None] | None:
    """The least and the largest value it can have (None: no largest); None for a metric of which nothing is known."""
    of_harness, metric = metric.startswith(HARNESS), like(metric)
    if of_harness and metric == "token_f1":
        return 0.0, None  # some tasks have it on a scale to 100
    if metric in _TO_HUNDRED:
        return 0.0, None if metric == "ter" else 100.0
    if metric in ("mcc", "cohen_kappa"):
        return -1.0, 1.0
    if metric in ("log_loss", "brier"):
        return 0.0, None
    known = _HIGHER_IS_BETTER | _LOWER_IS_BETTER | _ALWAYS_THERE
    return (0.0, 1.0) if metric in known else None


def best_of(metric: str, means: Sequence[float]) -> float | None:
    """The best of some means; None where it is not known which way is better."""
    if not has_direction(metric):
        return None
    return max(means) if _TOLD.get(metric, like(metric) in _HIGHER_IS_BETTER) else min(means)


def number(value: float | None, metric: str = "") -> str:
    """Three decimals without the leading zero; one decimal for the metrics on a scale to 100."""
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
    """A difference with its sign, `+.000` for none."""
    text = number(difference, metric)
    return text if text.startswith("-") else f"+{text}"


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The plain numbers among some metrics, those of lm-eval's tasks too; their names are shared by all runs."""
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
