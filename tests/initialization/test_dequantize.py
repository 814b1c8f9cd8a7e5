"""Weights read as plain numbers: plain, transposed, int8, 4-bit, FP8, and by unit vectors."""

from __future__ import annotations

from typing import Any

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


KINDS: dict[str, dict[str, Any]] = {
    "int8": {},
    "nf4": {"quant_type": "nf4", "compress_statistics": False},
    "nf4, double quantised": {"quant_type": "nf4", "compress_statistics": True},
    "fp4": {"quant_type": "fp4", "compress_statistics": False},
}


def quantised(plain: nn.Linear, kind: str) -> nn.Module:
    """Quantise a layer by bitsandbytes, before its first forward."""
    bnb = pytest.importorskip("bitsandbytes")
    weight = plain.weight.data.clone()
    if kind == "int8":
        layer = bnb.nn.Linear8bitLt(128, 64, bias=False, has_fp16_weights=False)
        layer.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    else:
        layer = bnb.nn.Linear4bit(128, 64, bias=False, quant_type=KINDS[kind]["quant_type"])
        layer.weight = bnb.nn.Params4bit(weight, requires_grad=False, **KINDS[kind])
    return layer.to("cpu")  # quantises


@pytest.mark.parametrize("kind", list(KINDS))
def test_bitsandbytes_reads_the_weights_that_the_layer_computes_with(kind: str) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(128, 64, bias=False)
    layer = quantised(plain, kind).train()
    if kind != "int8":
        assert layer.weight.quant_state.nested is ("double" in kind)
    weight = dequantize(layer)
    assert weight.shape == (64, 128)
    step = plain.weight.abs().max() / (127 if kind == "int8" else 4)
    assert (weight - plain.weight).abs().max() <= step
    assert torch.equal(dequantize(layer), weight)  # reading changes nothing
    x = torch.randn(5, 128)
    assert torch.allclose(layer(x), x @ weight.float().T, atol=1e-2)


def test_int8_can_be_read_after_it_has_run_and_run_after_it_was_read() -> None:
    torch.manual_seed(0)
    layer = quantised(nn.Linear(128, 64, bias=False), "int8").eval()
    before, x = dequantize(layer), torch.randn(5, 128)
    first = layer(x)
    assert layer.weight.SCB is None  # the library has moved the scales
    assert torch.equal(dequantize(layer), before)
    assert torch.equal(layer(x), first)


def test_four_bit_weights_that_an_eval_forward_repacked_are_refused() -> None:
    """The library itself repacks on CPUs with AVX512-BF16 only."""
    torch.manual_seed(0)
    layer = quantised(nn.Linear(128, 64, bias=False), "nf4").eval()
    weight = dequantize(layer)
    layer(torch.randn(5, 128))
    if getattr(layer, "support_avx512bf16_for_cpu", False):
        with pytest.raises(RuntimeError, match="repacked"):
            dequantize(layer)
    else:
        assert torch.equal(dequantize(layer), weight)


def test_repacked_four_bit_weights_are_a_bug() -> None:
    layer = quantised(nn.Linear(128, 64, bias=False), "nf4")
    layer.weight.quant_state.packing_format_for_cpu = True
    with pytest.raises(RuntimeError, match="repacked"):
        dequantize(layer)


@pytest.mark.parametrize("block", [(32, 16), None])
def test_fp8_with_a_scale_for_each_block_or_one_for_all(block: tuple[int, int] | None) -> None:
    from transformers.integrations.finegrained_fp8 import FP8Linear

    plain = torch.randn(48, 40)
    layer = FP8Linear(40, 48, block_size=block)
    layer.weight.data = plain.to(layer.weight.dtype)
    expected = layer.weight.float()
    if block is None:
        layer.weight_scale_inv.data.fill_(0.5)
        expected = expected * 0.5
    else:
        layer.weight_scale_inv.data = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])  # 48 rows: two blocks, one short
        for row in range(48):
            for column in range(40):
                expected[row, column] *= layer.weight_scale_inv[row // 32, column // 16]
    assert torch.equal(dequantize(layer), expected)


def test_compressed_weights_without_their_scales_are_refused() -> None:
    linear = nn.Linear(6, 4)
    linear.weight = nn.Parameter(linear.weight.detach().to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(ModelError, match="still compressed"):
        dequantize(linear)


class Packed(nn.Module):
    """A substitute for a GPTQ or AWQ layer: only its forward reads the packed weight."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.register_buffer("qweight", linear.weight.detach() * 2)
        self.register_buffer("bias", linear.bias.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.qweight / 2, self.bias)


def test_packed_weights_are_read_by_unit_vectors() -> None:
    linear = nn.Linear(6, 4)
    linear.bias.data.fill_(3e7)  # adding and subtracting it would round the weights to multiples of 2
    packed = Packed(linear)
    assert torch.allclose(dequantize(packed), linear.weight, atol=1e-6)
    assert torch.equal(packed.bias, linear.bias)


@pytest.mark.parametrize("layer", [nn.Embedding(5, 4), nn.Conv2d(3, 4, 2), nn.LayerNorm(4), nn.ReLU()])
def test_other_layers_are_refused(layer: nn.Module) -> None:
    with pytest.raises(ModelError, match=f"not a linear layer but {type(layer).__name__}"):
        dequantize(layer)
