"""Open the data and plan the prompts of an experiment; no model yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sft.config.experiment import Experiment
from sft.config.inference import InferenceConfig
from sft.config.schema import ExperimentConfig
from sft.dataset.task import Task, open_task
from sft.model.context import context_length
from sft.model.resident import FreshModels, Models
from sft.model.tokenizer import load_tokenizer
from sft.prompting.plan import PromptPlan
from sft.results.environment import Clock


@dataclass(frozen=True)
class Setup:
    """An experiment with its data opened and its prompts planned.

    Args:
        halvings: how often memory has run out in earlier attempts: batches are halved so often.
        models: where the base model comes from.
    """

    experiment: Experiment
    task: Task
    tokenizer: Any
    plan: PromptPlan
    clock: Clock
    halvings: int = 0
    models: Models = field(default_factory=FreshModels)

    @property
    def config(self) -> ExperimentConfig:
        """The experiment's config."""
        return self.experiment.config

    @property
    def inference(self) -> InferenceConfig:
        """The `inference` section, or its defaults."""
        return self.config.inference or InferenceConfig()


def prepare(experiment: Experiment, halvings: int = 0, models: Models | None = None) -> Setup:
    """Open data and tokenizer, draw the shots.

    Args:
        halvings: how often memory has run out in earlier attempts.
        models: where the base model comes from; None: loaded anew.

    Raises:
        DataError, ModelError: what the user has to mend.
    """
    clock = Clock()
    with clock("data"):
        task = open_task(experiment)
    with clock("tokenizer"):
        tokenizer = tokenizer_of(experiment.config)
        plan = PromptPlan(experiment, task, tokenizer, context_length(experiment.config.model))
    return Setup(experiment, task, tokenizer, plan, clock, halvings, models or FreshModels())


def tokenizer_of(config: ExperimentConfig) -> Any:
    """The model's tokenizer, or the one that `inference.tokenizer_name` names."""
    name = config.inference.tokenizer_name if config.inference is not None else None
    return load_tokenizer(config.model, name)
