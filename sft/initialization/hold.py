"""Keep the model's function equal to the base's at step 0, whatever A and B an adapter starts with.

If the start s B0 A0 is not zero, a second, frozen LoRA adapter holds its negative. The base's weights do not change, so
quantised ones work too:

    W x + s B A x - s B0 A0 x

For saving, the two adapters become one plain LoRA of twice the rank, [A; A0] and [B, -B0], with a larger alpha so that
s stays the same.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from sft.errors import ModelError
from sft.initialization.apply import target_layers
from sft.modes import at_rest

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

HELD = "held"  # the name of the frozen adapter
CHECKED_TOKENS = 16
# Largest difference of logits at step 0, relative to the largest logit. The two terms cancel in float32 up to its
# rounding; in half precision, and where activations are quantised, that rounding is amplified by the layers.
TOLERANCE = 1e-4
COARSE_TOLERANCE = 2e-2


def starts_elsewhere(model: PeftModel, adapter: str) -> bool:
    """Whether any B of the adapter is not zero, so that it starts away from the base."""
    return any(bool(target.layer.lora_B[adapter].weight.count_nonzero()) for target in target_layers(model, adapter))


def hold_start(model: PeftModel, adapter: str) -> None:
    """Add the frozen adapter that subtracts the start. The trained one must be initialised already.

    Raises:
        ModelError: the adapter uses DoRA, whose magnitudes belong to the whole weight and cannot be split.
    """
    config = copy.deepcopy(model.peft_config[adapter])
    if config.use_dora:
        raise ModelError("lora.use_dora cannot start from a B that is not zero; choose another init_lora_weights")
    config.init_lora_weights, config.lora_dropout, config.lora_bias = True, 0.0, False
    config.bias, config.modules_to_save = "none", None
    model.add_adapter(HELD, config)
    for target in target_layers(model, adapter):
        target.layer.lora_A[HELD].weight.data.copy_(target.layer.lora_A[adapter].weight.data)
        target.layer.lora_B[HELD].weight.data.copy_(-target.layer.lora_B[adapter].weight.data)
    model.base_model.set_adapter([adapter, HELD])
    for target in target_layers(model, HELD):
        target.layer.lora_A[HELD].requires_grad_(False)
        target.layer.lora_B[HELD].requires_grad_(False)


def fold_config(config: LoraConfig) -> LoraConfig:
    """Return the config of a LoRA with twice the rank and the same scaling."""
    folded = copy.deepcopy(config)
    factor = 2**0.5 if config.use_rslora else 2  # s = alpha / r, or alpha / sqrt(r)
    folded.r, folded.lora_alpha = 2 * config.r, factor * config.lora_alpha
    folded.rank_pattern = {key: 2 * rank for key, rank in (config.rank_pattern or {}).items()}
    folded.alpha_pattern = {key: factor * alpha for key, alpha in (config.alpha_pattern or {}).items()}
    return folded


def fold_tensors(trained: dict[str, torch.Tensor], held: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return [A; A0] and [B, -B0] of every layer, and all other trained tensors unchanged."""
    folded = dict(trained)
    for name, tensor in held.items():
        dimension = 0 if name.endswith("lora_A.weight") else 1
        folded[name] = torch.cat([trained[name], tensor], dim=dimension)
    return folded


@torch.no_grad()
def check_step_zero(model: PeftModel, what: str) -> None:
    """Check on a few tokens that the logits with the adapter equal those of the base.

    Raises:
        ModelError: they differ by more than rounding.
    """
    embeddings = model.get_input_embeddings().weight
    ids = torch.linspace(0, embeddings.shape[0] - 1, CHECKED_TOKENS, device=embeddings.device).long()[None]
    trained = {value: value.requires_grad for value in model.parameters()}
    try:
        with at_rest(model):
            logits = model(input_ids=ids).logits.float()
            with model.disable_adapter():
                expected = model(input_ids=ids).logits.float()
    finally:
        for value, wanted in trained.items():  # `disable_adapter` makes all active adapters trainable when it ends
            value.requires_grad_(wanted)
    exact = embeddings.dtype == torch.float32 and getattr(model, "quantization_method", None) is None
    difference = (logits - expected).abs().max() / expected.abs().max().clamp_min(1.0)
    if not difference <= (TOLERANCE if exact else COARSE_TOLERANCE):  # NaN too
        raise ModelError(
            f"{what} changes the model's function at step 0: logits differ by {difference:.1e} of the largest"
        )
