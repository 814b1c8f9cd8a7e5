"""Checkpoints in compressed-tensors, made here: dequantised when they are loaded, so that they are trained as any."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sft.config.sections.model import ModelConfig, QuantizationConfig
from sft.errors import ModelError
from sft.initialization.dequantize import dequantize
from sft.model.load import load_model

pytest.importorskip("compressed_tensors")

IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])
GROUP = 32


def float8(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A scale for each output; the tensors by their endings, and their dequantised values."""
    scales = weight.abs().amax(1, keepdim=True) / 448
    held = (weight / scales).to(torch.float8_e4m3fn)
    return {"weight": held, "weight_scale": scales}, held.float() * scales


def int4(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Eight in an int32, the lowest first; a scale for each group of inputs."""
    grouped = weight.unflatten(1, (-1, GROUP))
    scales = grouped.abs().amax(2, keepdim=True) / 7
    values = (grouped / scales).round().clamp(-8, 7)
    unsigned = (values + 8).long().flatten(1).unflatten(1, (-1, 8))
    packed = (unsigned << (4 * torch.arange(8))).sum(-1)
    packed = torch.where(packed >= 2**31, packed - 2**32, packed).int()
    tensors = {"weight_packed": packed, "weight_scale": scales[..., 0], "weight_shape": torch.tensor(weight.shape)}
    return tensors, (values * scales).flatten(1)


KINDS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "fp8": (float8, "float-quantized", {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}),
    "int4": (
        int4,
        "pack-quantized",
        {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP},
    ),
}


@pytest.fixture
def plain(make_model: Callable[..., Any]) -> Any:
    return make_model(hidden_size=128, intermediate_size=256, head_dim=32)


@pytest.fixture(params=list(KINDS))
def folder(request: pytest.FixtureRequest, plain: Any, tmp_path: Path) -> str:
    """A checkpoint; `plain` then has its dequantised weights."""
    from safetensors.torch import load_file, save_file

    compress, form, scheme = KINDS[request.param]
    folder = tmp_path / "compressed"
    plain.save_pretrained(folder)
    held = {}
    for name, value in load_file(folder / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            tensors, numbers = compress(value)
            plain.get_parameter(name).data.copy_(numbers)
            held.update({f"{name.removesuffix('weight')}{key}": tensor.contiguous() for key, tensor in tensors.items()})
        else:
            held[name] = value
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
        "ignore": ["lm_head"], "config_groups": {"group_0": {"targets": ["Linear"], "weights": scheme}},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@torch.no_grad()
def test_it_equals_the_plain_model(folder: str, plain: Any) -> None:
    model = load_model(ModelConfig(name=folder, model_args={"device_map": "cpu", "dtype": "float32"}))
    assert torch.allclose(model(IDS).logits, plain(IDS).logits, atol=1e-6)
    layer = "model.layers.0.mlp.up_proj"
    assert torch.allclose(dequantize(model.get_submodule(layer)), plain.get_submodule(layer).weight, atol=1e-7)


def test_it_learns_and_reloads(folder: str, init: bool | str, learns_and_reloads: Callable[..., None]) -> None:
    learns_and_reloads(ModelConfig(name=folder, model_args={"device_map": "cpu", "dtype": "float32"}), init)


def test_the_config_may_keep_it_compressed(folder: str, plain: Any) -> None:
    section = QuantizationConfig(config_class="CompressedTensorsConfig", args={"dequantize": False})
    config = ModelConfig(name=folder, quantization=section, model_args={"device_map": "cpu", "dtype": "float32"})
    layer = load_model(config).model.layers[0].mlp.up_proj
    with pytest.raises(ModelError, match=r"still compressed|not a linear layer"):
        dequantize(layer)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU may be able to")
def test_quantising_to_fp8_without_a_gpu_is_one_line(save_model: Callable[..., str]) -> None:
    section = QuantizationConfig(config_class="FineGrainedFP8Config")
    with pytest.raises(ModelError, match="GPU or XPU is needed for FP8") as caught:
        load_model(ModelConfig(name=save_model(), quantization=section))
    assert str(caught.value).startswith("model.quantization: ") and "\n" not in str(caught.value)
