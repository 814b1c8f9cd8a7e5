"""`pissa`: principal singular values and vectors adaptation (Meng et al. 2024, arXiv 2404.02948).

The adapter starts as the principal part of the weight, so that training changes it first. The paper subtracts that part
from the base's weights; here `hold.py` compensates it, which works on quantised bases too.
"""

from __future__ import annotations

import torch
from torch import nn

from sft.initialization.dequantize import dequantize
from sft.initialization.singular import principal_triplets


def pissa(layer: nn.Module, rank: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return A = sqrt(S) V^T [r, in] and B = U sqrt(S) [out, r] from the exact top-r singular triplets of W.

    B A is W's best approximation of rank r.

    Raises:
        ModelError: the rank is too large, or the layer is not linear.
    """
    triplets = principal_triplets(dequantize(layer), rank)
    root = triplets.values.sqrt()
    return {
        "lora_A": (root[:, None] * triplets.right).to(dtype),
        "lora_B": (triplets.left * root).to(dtype),
    }
