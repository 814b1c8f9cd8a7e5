"""The whole config of one experiment: all sections. Passed whole, never as single parameters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sft.config.sections.base import Section
from sft.config.sections.dataset import DatasetConfig
from sft.config.sections.evaluation import EvaluationConfig
from sft.config.sections.inference import InferenceConfig
from sft.config.sections.lora import AdapterSection, LoraSection
from sft.config.sections.model import ModelConfig
from sft.config.sections.prompting import PromptingConfig
from sft.config.sections.training import TrainingConfig

DEFAULT_SEED = 13
Endpoint = Literal["train", "predict", "evaluate", "run-experiment"]  # the commands that run a config
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class SeedsConfig(Section):
    """Overrides of single sources of randomness; the others follow the run's seed."""

    shots: Seed | None = Field(default=None, description="Seed for drawing the shots.")
    icl: Seed | None = Field(
        default=None, description="Seed for drawing in-context examples, and the rows and words of a calibration."
    )
    init: Seed | None = Field(default=None, description="Seed of the adapter's random initialisation.")
    training: Seed | None = Field(default=None, description="Seed of the row order and of dropout in training.")


class ExperimentConfig(Section):
    """One experiment. The command determines the required sections."""

    json_schema: str | None = Field(default=None, alias="$schema", description="For editors; ignored.")
    name: str | None = Field(default=None, description="Name of the experiment in tables. Default: the file's name.")
    description: str | None = Field(default=None, description="Free text; ignored.")
    seed: Seed | None = Field(default=None, description="Seed of the run. Default: 13.")
    seeds: SeedsConfig = Field(default_factory=SeedsConfig, description="Overrides of single sources of randomness.")
    dataset: DatasetConfig = Field(description="Which rows, which labels, how many shots.")
    model: ModelConfig = Field(description="Which model, and how it is loaded.")
    prompting: PromptingConfig = Field(description="How a row becomes a conversation.")
    lora: LoraSection | None = Field(default=None, description="Arguments of peft's LoraConfig.")
    adapter: AdapterSection | None = Field(default=None, description="Any PEFT config, instead of lora.")
    training: TrainingConfig | None = Field(default=None, description="How the shots are trained on.")
    inference: InferenceConfig | None = Field(default=None, description="How the evaluated rows are answered.")
    evaluation: EvaluationConfig = Field(
        default_factory=EvaluationConfig, description="Further metrics and their settings."
    )
