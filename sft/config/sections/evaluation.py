"""The `evaluation` section: what is measured beside the defaults."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sft.config.sections.base import Names, PositiveCount, Section
from sft.config.sections.lm_eval import LmEvalConfig
from sft.plugins import EVALUATE, METRICS


def metric_script(metric: str) -> str | None:
    """The path in `evaluate:PATH`; None for `evaluate:NAME`, which is the hub's, whatever lies here by that name."""
    name = metric.removeprefix(EVALUATE)
    is_path = name.startswith((".", "/", "~")) or "\\" in name or name.endswith(".py")
    return name if metric.startswith(EVALUATE) and is_path else None


class EvaluationConfig(Section):
    """Choices of the metrics."""

    tokenizer_name: str | None = Field(
        default=None, description="Tokenizer that segments words for BLEU and ROUGE, for languages without spaces."
    )
    ece_bins: PositiveCount = Field(default=15, description="Bins of the expected calibration error.")
    ece_norm: Literal["l1", "l2", "max"] = Field(default="l1", description="Norm of the expected calibration error.")
    metrics: Names = Field(
        default=(),
        description=f'Further metrics: {", ".join(METRICS)}, "module:function", or of the package evaluate: '
        '"evaluate:NAME" from the hub, "evaluate:./PATH" a script or its folder here. '
        "They run code: name what you trust.",
    )
    lm_eval: LmEvalConfig | None = Field(
        default=None, description="Tasks of lm-eval that the model is asked after the run's own evaluation."
    )
