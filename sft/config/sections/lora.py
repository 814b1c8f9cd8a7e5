"""The `lora` and `adapter` sections: what is trained on top of the frozen base."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from sft.config.sections.base import OpenSection

# Types of PEFT that would be trained or judged wrongly, and why.
REFUSED_TYPES: Mapping[str, str] = {
    "ADALORA": "its ranks must be allocated anew in every step of the training, which is not done here",
    "CPT": "it must be told what each token of a prompt is for",
    "LILY": "what it makes of a text depends on the other texts of the batch",
    "MULTITASK_PROMPT_TUNING": "it must be told which task a row is of",
    "POLY": "it must be told which task a row is of",
    "SHADOW": "it runs a second network beside the model, which takes no batches of several lengths",
    "XLORA": "it mixes adapters that were trained before",
}

# Arguments without which PEFT makes nothing of them, or fails where nobody would look.
NEEDED_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "ADAPTION_PROMPT": ("adapter_len", "adapter_layers"),
    "CARTRIDGE": ("num_virtual_tokens",),
    "PREFIX_TUNING": ("num_virtual_tokens",),
    "PROMPT_TUNING": ("num_virtual_tokens",),
    "P_TUNING": ("num_virtual_tokens",),
    "TRAINABLE_TOKENS": ("token_indices",),
}


class LoraSection(OpenSection):
    """Arguments of peft's LoraConfig; `init_lora_weights` also takes our initialisers and `"module:function"`."""

    init_lora_weights: bool | str = Field(
        default=True,
        description="How A and B start; at step 0 the model's function is the base's whatever it is. true: PEFT's "
        "default (false: a random B too); a name of our registry: pca, pissa, umap, umap_fast; one of PEFT's own: "
        "gaussian, orthogonal, mica, olora, pissa_niter_N, loftq, and eva, corda, lora_ga, which look at the rows "
        'that are trained on; or "module:function".',
    )


class AdapterSection(OpenSection):
    """Any PEFT config, by its `peft_type`."""

    peft_type: str = Field(description="Type of a PEFT config, such as PROMPT_TUNING.")
