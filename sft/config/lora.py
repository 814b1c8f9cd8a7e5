"""The `lora` and `adapter` sections: what is trained on top of the frozen base."""

from __future__ import annotations

from pydantic import Field

from sft.config.base import OpenSection


class LoraSection(OpenSection):
    """Arguments of peft's LoraConfig; `init_lora_weights` also takes our initialisers and `"module:function"`."""

    init_lora_weights: bool | str = Field(
        default=True,
        description="true: PEFT's default; a name of our registry (pca, umap, pissa); another of PEFT's own; or "
        '"module:function".',
    )


class AdapterSection(OpenSection):
    """Any PEFT config, by its `peft_type`."""

    peft_type: str = Field(description="Type of a PEFT config, such as PROMPT_TUNING.")
