"""`pissa`: B A is the weight's best approximation, split evenly."""

from __future__ import annotations

import torch
from torch import nn

from sft.initialization.initializers.pissa import pissa


def test_product_is_the_principal_part_and_is_split_by_the_root() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(24, 16, bias=False)
    made = pissa(layer, 3, torch.float32)
    left, values, right = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
    principal = (left[:, :3] * values[:3]) @ right[:3]
    assert torch.allclose(made["lora_B"] @ made["lora_A"], principal, atol=1e-5)
    assert torch.allclose(made["lora_A"].norm(dim=1), values[:3].sqrt(), atol=1e-5)
    assert torch.allclose(made["lora_B"].norm(dim=0), values[:3].sqrt(), atol=1e-5)
