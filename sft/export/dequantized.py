"""A quantised model as an ordinary one: the same architecture with its weights as plain numbers. Knows no adapters."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sft.errors import ModelError
from sft.initialization.dequantize import dequantize
from sft.model.source import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.no_grad()
def dequantized(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """A new model with the numbers that the quantised weights stand for, on the same device, in eval mode.

    Args:
        model: as `load_model` gives it; it stays as it is.
        dtype: of the new weights.

    Raises:
        ModelError: weights stored in a way that is not known here.
    """
    from accelerate import init_empty_weights

    config = copy.deepcopy(model.config)
    vars(config).pop("quantization_config", None)
    with quiet(), init_empty_weights(include_buffers=False):
        plain = type(model)(config)
    for name, module in plain.named_modules():
        source = model.get_submodule(name)
        for key, empty in list(module.named_parameters(recurse=False)):
            value = _plain_weight(source, key, module).to(dtype)
            if value.shape != empty.shape:
                raise ModelError(f'layer "{name}" is stored as {type(source).__name__}, which cannot be dequantised')
            setattr(module, key, nn.Parameter(value.contiguous()))
        for key, _ in list(module.named_buffers(recurse=False)):
            if isinstance(held := getattr(source, key, None), torch.Tensor):
                module.register_buffer(key, held.clone(), key not in module._non_persistent_buffers_set)
    plain.tie_weights()
    plain.generation_config = copy.deepcopy(model.generation_config)
    return plain.eval()


def _plain_weight(source: nn.Module, key: str, module: nn.Module) -> torch.Tensor:
    """One parameter as the ordinary module would hold it."""
    if key != "weight" or isinstance(module, nn.Embedding):
        return getattr(source, key).detach().clone()
    if isinstance(module, nn.Linear):
        return dequantize(source).clone()
    if type(module).__name__ == "Conv1D":  # GPT-2's layers store the transpose
        return dequantize(source).T.clone()
    held: Any = getattr(source, key)
    return held.detach().clone()
