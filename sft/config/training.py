"""The `training` section: the method and the trainer's arguments."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sft.config.base import Count, Section


class TrainingConfig(Section):
    """How the shots are trained on."""

    method: str = Field(default="sft", description='Training method: a name of our registry or "module:function".')
    icl_examples: Count = Field(
        default=0,
        description="In-context examples in each training prompt: per label for classification, else in total.",
    )
    random_icl: bool = Field(default=False, description="Draw the in-context examples anew for every row.")
    trainer_args: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of TRL's SFTConfig; renamed ones are translated with a notice."
    )
