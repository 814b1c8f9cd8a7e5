"""Bases in eight and four bits by bitsandbytes: correct before and after forwards, trained, saved and loaded again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from sft.config.sections.model import ModelConfig, QuantizationConfig
from sft.initialization.dequantize import dequantize
from sft.model.load import load_model

pytest.importorskip("bitsandbytes")

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
KINDS: dict[str, dict[str, Any]] = {
    "int8": {"load_in_8bit": True, "llm_int8_threshold": 0.0},
    "nf4": NF4,
    "nf4, double quantised": {**NF4, "bnb_4bit_use_double_quant": True},
}
IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])


@pytest.fixture
def quantised(save_model: Callable[..., str]) -> Callable[[str], ModelConfig]:
    folder = save_model(hidden_size=128, intermediate_size=256, head_dim=32)

    def config(kind: str) -> ModelConfig:
        section = QuantizationConfig(config_class="BitsAndBytesConfig", args=KINDS[kind])
        return ModelConfig(name=folder, quantization=section, model_args={"device_map": "cpu"})

    return config


@pytest.mark.parametrize("kind", list(KINDS))
@torch.no_grad()
def test_weights_read_the_same_before_and_after_an_evaluation(
    quantised: Callable[[str], ModelConfig], kind: str
) -> None:
    model = load_model(quantised(kind))
    layers = {name: layer for name, layer in model.named_modules() if name.endswith("_proj")}
    before = {name: dequantize(layer) for name, layer in layers.items()}
    first = model(IDS).logits
    for name, layer in layers.items():
        assert torch.equal(dequantize(layer), before[name])
    assert torch.equal(model(IDS).logits, first)


@torch.no_grad()
def test_four_bit_layers_compute_with_the_weights_that_are_read(quantised: Callable[[str], ModelConfig]) -> None:
    """The kernels of some CPUs would round them further."""
    layer = load_model(quantised("nf4, double quantised")).model.layers[0].mlp.up_proj
    x = torch.randn(5, 128)
    assert torch.allclose(layer(x), x @ dequantize(layer).T, atol=1e-5)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_initialiser_starts_as_the_base_learns_and_reloads(
    quantised: Callable[[str], ModelConfig], kind: str, init: bool | str, learns_and_reloads: Callable[..., None]
) -> None:
    # int8 rounds the inputs of its layers too: the last bit of float32 decides which way.
    learns_and_reloads(quantised(kind), init, noise=2e-2 if kind == "int8" else 1e-5)
