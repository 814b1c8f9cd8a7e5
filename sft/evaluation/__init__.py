"""What predictions are worth: metrics of references and predictions, and the registry of further ones.

Knows no model and no files, so that stored predictions can be judged again.
"""

from __future__ import annotations

from sft.evaluation.base import Metric
from sft.registry import Registry

metric_registry: Registry[Metric] = Registry(
    "metric",
    {
        "exact_match": "sft.evaluation.generation:exact_match",
        "token_f1": "sft.evaluation.generation:token_f1",
        "rouge": "sft.evaluation.generation:rouge",
        "bleu": "sft.evaluation.generation:bleu",
        "chrf": "sft.evaluation.generation:chrf",
        "ter": "sft.evaluation.generation:ter",
        "balanced_accuracy": "sklearn.metrics:balanced_accuracy_score",
        "cohen_kappa": "sklearn.metrics:cohen_kappa_score",
    },
)
