"""Prepare a model for full fine-tuning, without an adapter."""

from __future__ import annotations

from sft.errors import ModelError
from sft.log import get_logger
from sft.model.quantised.quantization import quantization_method
from sft.protocols import LanguageModel

log = get_logger(__name__)

WHERE = "training.full_finetuning"


def require_decoder_only(model: LanguageModel) -> None:
    """Refuse to train a model that is not decoder-only.

    Raises:
        ModelError: the model is an encoder-decoder model.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(
            f"model.name: {type(model).__name__} is an encoder-decoder model; only decoder-only models can be trained. "
            "With dataset.shots 0 it classifies without training"
        )


def open_to_training(model: LanguageModel) -> LanguageModel:
    """Make every weight of a freshly loaded model trainable.

    Raises:
        ModelError: the model is an encoder-decoder model, or quantised, so that its weights are integers.
    """
    import torch

    require_decoder_only(model)
    if method := quantization_method(model):
        raise ModelError(f"{WHERE}: a quantised base ({method}) cannot be fully fine-tuned; train a lora on it")
    weights = list(model.parameters())
    for weight in weights:
        weight.requires_grad_(True)
    if any(weight.dtype != torch.float32 for weight in weights):
        log.warning(
            "%s: the weights are in %s, which rounds small updates to zero; set model.model_args.dtype to float32",
            WHERE,
            str(model.dtype).removeprefix("torch."),
        )
    return model.eval()
