"""Load the data and plan the prompts of an experiment; the model is not loaded yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from sft.config.checking.constrain import require_package
from sft.config.experiment import Experiment
from sft.config.sections.inference import InferenceConfig
from sft.config.sections.schema import ExperimentConfig
from sft.dataset.task import Task, open_task
from sft.model.context import context_length
from sft.model.resident import FreshModels, Models
from sft.model.tokenizer import load_tokenizer
from sft.prompting.plan import PromptPlan
from sft.protocols import Tokenizer
from sft.results.environment import Clock

if TYPE_CHECKING:
    from sft.inference.generating.constrain import Constraint


@dataclass(frozen=True)
class Setup:
    """An experiment with its data loaded and its prompts planned.

    Args:
        models: provides the base model.
    """

    experiment: Experiment
    task: Task
    tokenizer: Tokenizer
    plan: PromptPlan
    clock: Clock
    models: Models = field(default_factory=FreshModels)

    @property
    def config(self) -> ExperimentConfig:
        """The experiment's config."""
        return self.experiment.config

    @property
    def inference(self) -> InferenceConfig:
        """The `inference` section, or its defaults."""
        return self.config.inference or InferenceConfig()

    @cached_property
    def constraint(self) -> Constraint | None:
        """The constraint on generated answers, compiled once for the run.

        Raises:
            ModelError: the tokenizer does not support constraints.
        """
        if self.inference.constrain is None:
            return None
        from sft.inference.generating.constrain import Constraint

        return Constraint(self.inference.constrain, self.tokenizer)


def prepare(experiment: Experiment, models: Models | None = None) -> Setup:
    """Load data and tokenizer, and draw the shots.

    Args:
        models: provides the base model; None: loaded for this run.

    Raises:
        DataError, ModelError, MissingPackageError: an error that the user has to fix.
    """
    inference = experiment.config.inference
    generates = experiment.endpoint != "train" and not experiment.config.dataset.task.has_labels
    if generates and inference is not None and inference.constrain is not None:
        require_package()
    clock = Clock()
    with clock("data"):
        task = open_task(experiment)
    with clock("tokenizer"):
        tokenizer = tokenizer_of(experiment.config)
        plan = PromptPlan(experiment, task, tokenizer, context_length(experiment.config.model))
        plan.check_labels()
    return Setup(experiment, task, tokenizer, plan, clock, models or FreshModels())


def tokenizer_of(config: ExperimentConfig) -> Tokenizer:
    """Return the model's tokenizer, or the one that `inference.tokenizer_name` names."""
    name = config.inference.tokenizer_name if config.inference is not None else None
    return load_tokenizer(config.model, name)
