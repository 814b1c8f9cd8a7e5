"""The `inference` section: in-context examples, batching, generation and label scoring."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sft.config.base import Count, PositiveCount, Section


class InferenceConfig(Section):
    """How the judged rows are answered."""

    icl_examples: Count = Field(
        default=0, description="In-context examples: per label for classification, in total for generation."
    )
    random_icl: bool = Field(
        default=False, description="false: the same examples in one order for every row; true: drawn per row, seeded."
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
    label_scoring: Literal["sum", "mean", "first"] = Field(
        default="sum", description="Label score: summed log-probability, its mean per token, or the first token's."
    )
    tokenizer_name: str | None = Field(default=None, description="Hub id or folder of another tokenizer.")
