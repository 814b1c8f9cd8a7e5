"""The `inference` section: in-context examples, batching, generation and label scoring."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sft.config.sections.base import Count, Names, PositiveCount, Section
from sft.config.sections.calibration import CalibrationConfig
from sft.plugins import BACKENDS, SELECTIONS


class ConstrainConfig(Section):
    """What generated answers are held to: exactly one of the three."""

    json_schema: dict[str, Any] | None = Field(default=None, description="JSON Schema that the answer follows.")
    regex: str | None = Field(default=None, description="Regular expression that the whole answer matches.")
    choices: Names | None = Field(default=None, description="Texts of which the answer is one.")


class InferenceConfig(Section):
    """How the judged rows are answered."""

    icl_examples: Count = Field(
        default=0, description="In-context examples: per label for classification, in total for generation."
    )
    random_icl: bool = Field(
        default=False, description="false: the same examples in one order for every row; true: drawn per row, seeded."
    )
    icl_selection: str | None = Field(
        default=None,
        description=f"How examples are chosen: {SELECTIONS.described}.",
    )
    icl_pool: Literal["shots", "train"] | None = Field(
        default=None,
        description="Where in-context examples come from. Default: the shots when there are some, else train.",
    )
    batch_size: PositiveCount | Literal["auto"] = Field(
        default="auto", description='Prompts per forward pass, or "auto".'
    )
    max_seq_length: PositiveCount | None = Field(
        default=None, description="Longest prompt with its answer, in tokens. Default: what the model allows."
    )
    generation_args: dict[str, Any] = Field(default_factory=dict, description="Arguments of generate.")
    stop_strings: Names = Field(
        default=(), description="Texts that end a generated answer, which is cut before the first of them."
    )
    constrain: ConstrainConfig | None = Field(
        default=None,
        description="Hold generated answers to one of json_schema (an object), regex or choices (a list of texts).",
    )
    label_scoring: Literal["sum", "mean", "first", "pmi"] = Field(
        default="sum",
        description="Label score: summed log-probability, its mean per token, the first token's, or pmi: the sum minus "
        "that after content-free inputs.",
    )
    calibration_args: CalibrationConfig | None = Field(
        default=None, description="How label probabilities are calibrated. Default: not at all."
    )
    tokenizer_name: str | None = Field(default=None, description="Hub id or folder of another tokenizer.")
    backend: str = Field(default="transformers", description=f"What runs the model: {BACKENDS.described}.")
