"""The weight of a linear layer as plain numbers, however it is stored. Changes nothing; knows nothing of adapters.

Quantised layers must not have run in eval mode before: bitsandbytes repacks 4-bit weights in place on some CPUs, and
reading them afterwards gives other numbers.
"""

from __future__ import annotations

import torch
from torch import nn

from sft.errors import ModelError


@torch.no_grad()
def dequantize(layer: nn.Module) -> torch.Tensor:
    """The weight W [out, in] of a layer that computes W x + b.

    Linear layers as they are, GPT-2's Conv1D (which stores its transpose), bitsandbytes int8 and 4-bit, torchao,
    and GPTQ or AWQ layers, whose columns are read off by feeding them the unit vectors.

    Raises:
        ModelError: not a linear layer.
        RuntimeError: 4-bit weights that have been repacked (a bug of the caller).
    """
    if hasattr(layer, "qweight"):  # GPTQ, AWQ
        return _by_unit_vectors(layer)
    weight = getattr(layer, "weight", None)
    if isinstance(layer, nn.Embedding) or not isinstance(weight, torch.Tensor):
        raise ModelError(f"not a linear layer but {type(layer).__name__}")
    if type(weight).__name__ == "Params4bit":
        return _four_bit(weight)
    if type(weight).__name__ == "Int8Params":
        return _eight_bit(weight)
    if type(weight).__module__.startswith("torchao."):
        weight = weight.dequantize()
    if weight.dim() != 2 or not weight.is_floating_point():
        raise ModelError(f"not a linear layer but {type(layer).__name__}")
    weight = weight.detach()
    return weight.T if type(layer).__name__ == "Conv1D" else weight


def _four_bit(weight: torch.Tensor) -> torch.Tensor:
    from bitsandbytes.functional import dequantize_4bit

    if getattr(weight.quant_state, "packing_format_for_cpu", False):
        raise RuntimeError("4-bit weights were read after an eval forward had repacked them")
    return dequantize_4bit(weight.data, weight.quant_state)


def _eight_bit(weight: torch.Tensor) -> torch.Tensor:
    from bitsandbytes.functional import int8_vectorwise_dequant

    return int8_vectorwise_dequant(weight.data, weight.SCB)


def _by_unit_vectors(layer: nn.Module) -> torch.Tensor:
    device = next(layer.buffers()).device
    dtype = next((held.dtype for held in layer.buffers() if held.is_floating_point()), torch.float32)
    columns = layer(torch.eye(layer.in_features, device=device, dtype=dtype))
    bias = getattr(layer, "bias", None)
    return (columns if bias is None else columns - bias).T
