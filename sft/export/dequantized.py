"""Dequantise a model: the same architecture with ordinary weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from sft.errors import ModelError
from sft.initialization.dequantize import dequantize
from sft.model.source import quiet
from sft.protocols import LanguageModel


@torch.no_grad()
def dequantized(model: LanguageModel, dtype: torch.dtype) -> LanguageModel:
    """Return a new model with the dequantised weights, on the same device, in eval mode.

    Args:
        model: a model from `load_model`; it is not changed.
        dtype: dtype of the new weights.

    Raises:
        ModelError: weights with an unknown storage format.
    """
    from accelerate import init_empty_weights

    config = copy.deepcopy(model.config)
    vars(config).pop("quantization_config", None)
    with quiet(), init_empty_weights(include_buffers=False):
        kind: Any = type(model)
        plain = kind(config)
    for name, module in plain.named_modules():
        source = model.get_submodule(name)
        for key, empty in list(module.named_parameters(recurse=False)):
            value = _plain_weight(source, key, module).to(dtype)
            if value.shape != empty.shape:
                raise ModelError(f'layer "{name}" is stored as {type(source).__name__}, which cannot be dequantised')
            setattr(module, key, nn.Parameter(value.contiguous()))
        for key, _ in list(module.named_buffers(recurse=False)):
            if isinstance(buffer := getattr(source, key, None), torch.Tensor):
                module.register_buffer(key, buffer.clone(), key not in module._non_persistent_buffers_set)
    plain.tie_weights()
    plain.generation_config = copy.deepcopy(model.generation_config)
    return plain.eval()


def _plain_weight(source: nn.Module, key: str, module: nn.Module) -> torch.Tensor:
    """Return a parameter as in the ordinary module."""
    if key != "weight" or isinstance(module, nn.Embedding):
        return getattr(source, key).detach().clone()
    if isinstance(module, nn.Linear):
        return dequantize(source).clone()
    if type(module).__name__ == "Conv1D":  # GPT-2's layers store the transpose
        return dequantize(source).T.clone()
    value: Any = getattr(source, key)
    return value.detach().clone()
