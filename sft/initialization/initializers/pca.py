"""`pca`: A spans the input directions with the largest effect on a layer's output; B is zero.

The rows of A are the top right singular vectors of the weight (the principal axes of its rows, not centred).
"""

from __future__ import annotations

import torch
from torch import nn

from sft.initialization.dequantize import dequantize
from sft.initialization.singular import principal_triplets


def pca(layer: nn.Module, rank: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return A = the top-r right singular vectors of W [out, in], orthonormal rows [r, in]; B = 0 [out, r].

    Raises:
        ModelError: the rank is too large, or the layer is not linear.
    """
    weight = dequantize(layer)
    triplets = principal_triplets(weight, rank)
    return {
        "lora_A": triplets.right.to(dtype),
        "lora_B": torch.zeros(weight.shape[0], rank, dtype=dtype),
    }
