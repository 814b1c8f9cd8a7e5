"""The `lora` and `adapter` sections: the adapter that is trained on the frozen base."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from sft.config.sections.base import OpenSection

# PEFT types that would be trained or evaluated wrongly, and why.
REFUSED_TYPES: Mapping[str, str] = {
    "ADALORA": "its ranks must be reallocated at every training step, which is not implemented",
    "CPT": "it requires the role of each prompt token",
    "LILY": "its output for a row depends on the other rows of the batch",
    "MULTITASK_PROMPT_TUNING": "it requires the task of each row",
    "POLY": "it requires the task of each row",
    "SHADOW": "it runs a second network that does not accept batches of different lengths",
    "XLORA": "it combines adapters that are already trained",
}

# Required arguments: without them PEFT trains nothing, or fails with an obscure error.
NEEDED_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "ADAPTION_PROMPT": ("adapter_len", "adapter_layers"),
    "CARTRIDGE": ("num_virtual_tokens",),
    "PREFIX_TUNING": ("num_virtual_tokens",),
    "PROMPT_TUNING": ("num_virtual_tokens",),
    "P_TUNING": ("num_virtual_tokens",),
    "TRAINABLE_TOKENS": ("token_indices",),
}


class LoraSection(OpenSection):
    """Arguments of peft's LoraConfig; `init_lora_weights` also takes the initialisers here and `"module:function"`."""

    init_lora_weights: bool | str = Field(
        default=True,
        description="Initialisation of A and B; at step 0 the model always equals the base. true: PEFT's default "
        "(false: B random too); own initialisers: pca, pissa, umap, umap_fast; PEFT's: gaussian, orthogonal, mica, "
        "olora, pissa_niter_N, loftq, and eva, corda, lora_ga, which use the training rows; "
        'or "module:function".',
    )


class AdapterSection(OpenSection):
    """Any PEFT config, by its `peft_type`."""

    peft_type: str = Field(description="Type of a PEFT config, such as PROMPT_TUNING.")
