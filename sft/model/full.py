"""A model whose own weights are all trained, without an adapter. Knows nothing of how, nor of how it is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sft.errors import ModelError
from sft.log import get_logger
from sft.model.quantization import quantization_method

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = get_logger(__name__)

WHERE = "training.full_finetuning"


def require_decoder_only(model: PreTrainedModel) -> None:
    """Refuse to train any other kind of model.

    Raises:
        ModelError: an encoder-decoder model.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(
            f"model.name: {type(model).__name__} is an encoder-decoder model, and only decoder-only ones are trained "
            "here; with dataset.shots 0 it classifies as it is"
        )


def open_to_training(model: PreTrainedModel) -> PreTrainedModel:
    """Have every weight of a freshly loaded model trained.

    Raises:
        ModelError: an encoder-decoder model, or a quantised one, whose weights are integers.
    """
    import torch

    require_decoder_only(model)
    if method := quantization_method(model):
        raise ModelError(f"{WHERE}: a quantised base ({method}) cannot be trained whole; train a lora on it")
    weights = list(model.parameters())
    for weight in weights:
        weight.requires_grad_(True)
    if any(weight.dtype != torch.float32 for weight in weights):
        log.warning(
            "%s: the weights are held in %s, which rounds small steps away; model.model_args.dtype float32 keeps them",
            WHERE,
            str(model.dtype).removeprefix("torch."),
        )
    return model.eval()
