"""The `inference` section: in-context examples, batching, generation and label scoring."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sft.config.sections.base import Count, Names, PositiveCount, Section
from sft.config.sections.calibration import CalibrationConfig
from sft.plugins import BACKENDS, SELECTIONS


class ConstrainConfig(Section):
    """The constraint of generated answers: exactly one of the three keys."""

    json_schema: dict[str, Any] | None = Field(default=None, description="JSON Schema of the answer.")
    regex: str | None = Field(default=None, description="Regular expression that the whole answer matches.")
    choices: Names | None = Field(default=None, description="The possible answers.")


class InferenceConfig(Section):
    """How the evaluated rows are answered."""

    icl_examples: Count = Field(
        default=0, description="Number of in-context examples: per label for classification, in total for generation."
    )
    random_icl: bool = Field(
        default=False,
        description="false: the same examples in the same order for every row; true: a seeded draw for each row.",
    )
    icl_selection: str | None = Field(
        default=None,
        description=f"How examples are chosen: {SELECTIONS.described}.",
    )
    icl_pool: Literal["shots", "train"] | None = Field(
        default=None,
        description="Source of in-context examples. Default: shots if dataset.shots is not 0, else train.",
    )
    batch_size: PositiveCount | Literal["auto"] = Field(
        default="auto", description='Prompts per forward pass, or "auto".'
    )
    max_seq_length: PositiveCount | None = Field(
        default=None, description="Maximum tokens of a prompt with its answer. Default: the model's limit."
    )
    generation_args: dict[str, Any] = Field(default_factory=dict, description="Arguments of generate.")
    stop_strings: Names = Field(
        default=(), description="Strings that end a generated answer; it is truncated before the first of them."
    )
    constrain: ConstrainConfig | None = Field(
        default=None,
        description="Constraint of generated answers: json_schema (an object), regex (a string) or choices (a list of "
        "strings).",
    )
    label_scoring: Literal["sum", "mean", "first", "pmi"] = Field(
        default="sum",
        description="Label score: sum or mean of the tokens' log-probabilities, the first token's log-probability, or "
        "pmi: the sum minus the sum after content-free inputs.",
    )
    calibration_args: CalibrationConfig | None = Field(
        default=None, description="How label probabilities are calibrated. Default: no calibration."
    )
    tokenizer_name: str | None = Field(
        default=None, description="Hub id or folder of another tokenizer. Default: the model's."
    )
    backend: str = Field(default="transformers", description=f"Inference backend: {BACKENDS.described}.")
