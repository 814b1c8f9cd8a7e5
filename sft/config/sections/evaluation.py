"""The `evaluation` section: further metrics and their settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sft.config.sections.base import Names, PositiveCount, Section
from sft.config.sections.lm_eval import LmEvalConfig
from sft.plugins import EVALUATE, METRICS


def metric_script(metric: str) -> str | None:
    """Return the path of `evaluate:PATH`; None for `evaluate:NAME`, which is always on the Hub."""
    name = metric.removeprefix(EVALUATE)
    is_path = name.startswith((".", "/", "~")) or "\\" in name or name.endswith(".py")
    return name if metric.startswith(EVALUATE) and is_path else None


class EvaluationConfig(Section):
    """The settings of the metrics."""

    tokenizer_name: str | None = Field(
        default=None, description="Tokenizer that splits words for BLEU and ROUGE, for languages without spaces."
    )
    ece_bins: PositiveCount = Field(default=15, description="Number of bins of the expected calibration error.")
    ece_norm: Literal["l1", "l2", "max"] = Field(default="l1", description="Norm of the expected calibration error.")
    metrics: Names = Field(
        default=(),
        description=f'Further metrics: {", ".join(METRICS)}, "module:function", or of the package evaluate: '
        '"evaluate:NAME" from the Hub, "evaluate:./PATH" a local script or its folder. '
        "They run code; name only metrics that you trust.",
    )
    lm_eval: LmEvalConfig | None = Field(
        default=None, description="Tasks of lm-eval to run after the run's own evaluation."
    )
