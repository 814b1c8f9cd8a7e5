"""The task types: an answer is one label, any number of labels, or text. Knows no data and no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TaskName = Literal["generation", "classification", "multilabel"]


@dataclass(frozen=True)
class TaskType:
    """A task type.

    Args:
        name: its name in configs.
        has_labels: whether an answer consists of labels, which are scored; else it is text, which is generated.
        takes_several: whether a row has any number of labels; each label is a separate question.
        selection: the default selection of in-context examples.
        metrics: the metrics of every run, without those of `evaluation.metrics`.
    """

    name: TaskName
    has_labels: bool
    takes_several: bool
    selection: str
    metrics: frozenset[str]

    @property
    def has_one_label(self) -> bool:
        """Return whether each row has exactly one label, whose probabilities can be calibrated."""
        return self.has_labels and not self.takes_several


TASK_TYPES: Mapping[str, TaskType] = {
    task.name: task
    for task in (
        TaskType(
            "classification",
            has_labels=True,
            takes_several=False,
            selection="balanced",
            metrics=frozenset({
                "accuracy", "macro_f1", "micro_f1", "weighted_f1", "macro_precision", "macro_recall", "mcc", "ece",
                "brier", "log_loss", "auroc",
            }),
        ),
        TaskType(
            "multilabel",
            has_labels=True,
            takes_several=True,
            selection="random",
            metrics=frozenset({
                "macro_f1", "micro_f1", "sample_f1", "subset_accuracy", "question_accuracy", "threshold",
            }),
        ),
        TaskType(
            "generation",
            has_labels=False,
            takes_several=False,
            selection="random",
            metrics=frozenset({
                "exact_match", "token_f1", "rouge1", "rouge2", "rougeL", "bleu", "chrf", "bertscore_f1",
                "unfinished_answers",
            }),
        ),
    )
}  # fmt: skip
