"""The `evaluation` section: what is measured beside the defaults."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sft.config.base import Names, PositiveCount, Section
from sft.config.lm_eval import LmEvalConfig


class EvaluationConfig(Section):
    """Choices of the metrics."""

    tokenizer_name: str | None = Field(
        default=None, description="Tokenizer that segments words for BLEU and ROUGE, for languages without spaces."
    )
    ece_bins: PositiveCount = Field(default=15, description="Bins of the expected calibration error.")
    ece_norm: Literal["l1", "l2", "max"] = Field(default="l1", description="Norm of the expected calibration error.")
    metrics: Names = Field(
        default=(), description='Further metrics: names of our registry, "module:function", or "evaluate:NAME".'
    )
    lm_eval: LmEvalConfig | None = Field(
        default=None, description="Tasks of lm-eval that the model is asked after the run's own evaluation."
    )
