"""Settings without an effect, by task type and training method: notices name them, ids leave them out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from sft.config.sections.base import Section
from sft.config.sections.dataset import DatasetConfig
from sft.config.sections.evaluation import EvaluationConfig
from sft.config.sections.inference import InferenceConfig
from sft.config.sections.prompting import PromptingConfig
from sft.config.sections.training import TrainingConfig
from sft.plugins import METHODS

_SECTIONS: dict[str, type[Section]] = {
    "dataset": DatasetConfig,
    "prompting": PromptingConfig,
    "training": TrainingConfig,
    "inference": InferenceConfig,
    "evaluation": EvaluationConfig,
}


class IdleSetting(NamedTuple):
    """A setting, and the task types for which it has no effect. `is_reported`: whether a notice names it."""

    path: str
    task_types: tuple[str, ...]
    is_reported: bool = True

    @property
    def default(self) -> Any:
        """Return its default as JSON. Only for comparison; do not change it."""
        return _default(self.path)


@cache  # called for each experiment of a grid of thousands
def _default(path: str) -> Any:
    section, _, key = path.partition(".")
    default = _SECTIONS[section].model_fields[key].get_default(call_default_factory=True)
    return list(default) if isinstance(default, tuple) else default


_TEXT = ("generation",)
_LABELS = ("classification", "multilabel")
_ONE_ANSWER = ("classification", "generation")
_BY_TASK = (
    IdleSetting("inference.generation_args", _LABELS),
    IdleSetting("inference.stop_strings", _LABELS),
    IdleSetting("inference.constrain", _LABELS),
    IdleSetting("evaluation.tokenizer_name", _LABELS),
    IdleSetting("prompting.max_output_length", _LABELS, is_reported=False),
    IdleSetting("dataset.labels", _TEXT),
    IdleSetting("prompting.verbalizers", _TEXT),
    IdleSetting("inference.label_scoring", _TEXT),
    IdleSetting("inference.calibration_args", _TEXT),
    IdleSetting("evaluation.ece_bins", ("generation", "multilabel"), is_reported=False),
    IdleSetting("evaluation.ece_norm", ("generation", "multilabel"), is_reported=False),
    IdleSetting("dataset.label_separator", _ONE_ANSWER),
    IdleSetting("prompting.yes_no", _ONE_ANSWER),
    IdleSetting("prompting.question", _ONE_ANSWER),
)


def idle_for_task(task_type: str) -> Iterator[IdleSetting]:
    """Yield the settings that have no effect for a task type."""
    return (setting for setting in _BY_TASK if task_type in setting.task_types)


def idle_for_method(method: str) -> Iterator[IdleSetting]:
    """Yield the settings that have no effect with a training method."""
    return (IdleSetting(path, ()) for path in METHODS.spec(method).idle)
