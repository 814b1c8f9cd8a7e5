"""Read the weight of a linear layer as plain numbers, however it is stored."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sft.errors import ModelError


@torch.no_grad()
def dequantize(layer: nn.Module) -> torch.Tensor:
    """Return the weight W [out, in] of a layer that computes W x + b, before or after its first forward.

    Supported are plain linear layers, GPT-2's Conv1D (which stores its transpose), bitsandbytes int8 and 4-bit (double
    quantisation too), torchao, FP8 of transformers, and GPTQ or AWQ layers of gptqmodel.

    Raises:
        ModelError: the layer is not linear, or its weights are still compressed.
        RuntimeError: bitsandbytes has repacked the 4-bit weights, as it does at an eval forward on some CPUs. Reading
            them would give other numbers. (Bases of `load_model` are never repacked.)
    """
    if hasattr(layer, "qweight"):
        return _by_unit_vectors(layer)
    weight: Any = getattr(layer, "weight", None)
    if isinstance(layer, nn.Embedding) or not isinstance(weight, torch.Tensor):
        raise ModelError(f"not a linear layer but {type(layer).__name__}")
    if type(weight).__name__ == "Params4bit":
        return _four_bit(weight)
    if type(weight).__name__ == "Int8Params":
        return _eight_bit(weight, layer)
    if type(weight).__module__.startswith("torchao."):
        weight = weight.dequantize()
    if weight.dim() != 2 or not weight.is_floating_point():
        raise ModelError(f"not a linear layer but {type(layer).__name__}")
    if weight.dtype.itemsize == 1:
        return _float8(weight, layer)
    weight = weight.detach()
    return weight.T if type(layer).__name__ == "Conv1D" else weight


def _four_bit(weight: Any) -> torch.Tensor:
    from bitsandbytes.functional import dequantize_4bit

    if getattr(weight.quant_state, "packing_format_for_cpu", False):
        raise RuntimeError("4-bit weights cannot be read after an eval forward has repacked them")
    return dequantize_4bit(weight.data, weight.quant_state)


def _eight_bit(weight: Any, layer: Any) -> torch.Tensor:
    """Dequantise int8 weights; the first forward moves their scales from the weight to the layer's state."""
    from bitsandbytes.functional import int8_vectorwise_dequant

    scales = weight.SCB if weight.SCB is not None else layer.state.SCB
    return int8_vectorwise_dequant(weight.data, scales)


def _float8(weight: torch.Tensor, layer: Any) -> torch.Tensor:
    """Dequantise FP8 weights of transformers, which have a scale for each block, or a single one."""
    scales = getattr(layer, "weight_scale_inv", None)
    if scales is None:
        raise ModelError("its weights are still compressed; load the base dequantised")
    weight, scales = weight.float(), scales.float()
    if scales.numel() == 1:
        return weight * scales
    for dimension, size in enumerate(layer.block_size):
        scales = scales.repeat_interleave(size, dim=dimension).narrow(dimension, 0, weight.shape[dimension])
    return weight * scales


def _by_unit_vectors(layer: Any) -> torch.Tensor:
    """Read GPTQ and AWQ weights by feeding unit vectors, which works with any kernel.

    The bias is left out: it may be so large that half precision would round the weights away.
    """
    device = next(layer.buffers()).device
    dtype = next((held.dtype for held in layer.buffers() if held.is_floating_point()), torch.float32)
    bias, layer.bias = layer.bias, None
    try:
        return layer(torch.eye(layer.in_features, device=device, dtype=dtype)).T
    finally:
        layer.bias = bias
