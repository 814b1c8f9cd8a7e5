"""Weights read as plain numbers: plain, transposed, int8, 4-bit, and by unit vectors."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from sft.errors import ModelError
from sft.initialization.dequantize import dequantize


def test_plain_and_transposed() -> None:
    linear, conv = nn.Linear(6, 4), Conv1D(4, 6)
    assert torch.equal(dequantize(linear), linear.weight)
    assert dequantize(conv).shape == (4, 6)
    x = torch.randn(3, 6)
    assert torch.allclose(x @ dequantize(conv).T + conv.bias, conv(x), atol=1e-6)
    assert not dequantize(linear).requires_grad


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_bitsandbytes_reads_the_weights_that_the_layer_computes_with(kind: str) -> None:
    bnb = pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    plain = nn.Linear(128, 64, bias=False)
    if kind == "int8":
        layer = bnb.nn.Linear8bitLt(128, 64, bias=False, has_fp16_weights=False)
        layer.weight = bnb.nn.Int8Params(plain.weight.data.clone(), requires_grad=False, has_fp16_weights=False)
    else:
        layer = bnb.nn.Linear4bit(128, 64, bias=False, quant_type="nf4")
        layer.weight = bnb.nn.Params4bit(plain.weight.data.clone(), requires_grad=False, quant_type="nf4")
    layer = layer.to("cpu").train()
    weight = dequantize(layer)
    assert weight.shape == (64, 128)
    step = plain.weight.abs().max() / (127 if kind == "int8" else 4)
    assert (weight - plain.weight).abs().max() <= step
    assert torch.equal(dequantize(layer), weight)  # reading changes nothing
    x = torch.randn(5, 128)
    assert torch.allclose(layer(x), x @ weight.float().T, atol=1e-2)


def test_repacked_four_bit_weights_are_a_bug() -> None:
    bnb = pytest.importorskip("bitsandbytes")
    layer = bnb.nn.Linear4bit(128, 64, bias=False, quant_type="nf4").to("cpu")
    layer.weight.quant_state.packing_format_for_cpu = True
    with pytest.raises(RuntimeError, match="repacked"):
        dequantize(layer)


class Packed(nn.Module):
    """Stands for a GPTQ or AWQ layer: a packed weight that only the forward pass understands."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.register_buffer("qweight", linear.weight.detach() * 2)
        self.register_buffer("bias", linear.bias.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (self.qweight / 2).T + self.bias


def test_packed_weights_are_read_by_unit_vectors() -> None:
    linear = nn.Linear(6, 4)
    assert torch.allclose(dequantize(Packed(linear)), linear.weight, atol=1e-6)


@pytest.mark.parametrize("layer", [nn.Embedding(5, 4), nn.Conv2d(3, 4, 2), nn.LayerNorm(4), nn.ReLU()])
def test_other_layers_are_refused(layer: nn.Module) -> None:
    with pytest.raises(ModelError, match=f"not a linear layer but {type(layer).__name__}"):
        dequantize(layer)
