"""`pca`: A spans the input directions of the largest response."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sft.errors import ModelError
from sft.initialization.initializers.pca import pca


def test_rows_are_the_top_right_singular_vectors() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(24, 16, bias=False)
    made = pca(layer, 3, torch.float32)
    assert made["lora_A"].shape == (3, 24) and made["lora_B"].shape == (16, 3)
    assert not made["lora_B"].count_nonzero()
    _, values, right = torch.linalg.svd(layer.weight.detach())
    assert torch.allclose(made["lora_A"].abs(), right[:3].abs(), atol=1e-4)
    response = (made["lora_A"] @ layer.weight.T).norm(dim=1)
    assert torch.allclose(response, values[:3], atol=1e-4)


def test_dtype_and_rank() -> None:
    assert pca(nn.Linear(8, 8), 2, torch.bfloat16)["lora_A"].dtype == torch.bfloat16
    with pytest.raises(ModelError, match="got 9"):
        pca(nn.Linear(8, 8), 9, torch.float32)
