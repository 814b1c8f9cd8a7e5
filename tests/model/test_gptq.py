"""GPTQ and AWQ checkpoints, packed here by hand, on the CPU: read, initialised, trained, saved and loaded again."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from sft.config.sections.model import ModelConfig, QuantizationConfig
from sft.initialization.dequantize import dequantize
from sft.model.load import load_model

pytestmark = pytest.mark.skipif(find_spec("gptqmodel") is None, reason="run scripts/test --extra gptq")

METHODS = ("gptq", "awq")
GROUP = 32
ORDER = {"gptq": [0, 1, 2, 3, 4, 5, 6, 7], "awq": [0, 2, 4, 6, 1, 3, 5, 7]}  # of eight values in an int32
IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])


class Packed(NamedTuple):
    """A weight [out, in] in four bits: its tensors in a checkpoint, and their dequantised values [out, in]."""

    tensors: dict[str, torch.Tensor]
    plain: torch.Tensor


def to_int32(values: torch.Tensor, order: list[int], dim: int) -> torch.Tensor:
    """Eight four-bit values along `dim` in each number."""
    grouped = values.long().movedim(dim, -1).unflatten(-1, (-1, 8))[..., order]
    packed = (grouped << (4 * torch.arange(8))).sum(-1)
    return torch.where(packed >= 2**31, packed - 2**32, packed).int().movedim(-1, dim).contiguous()


def pack(weight: torch.Tensor, method: str) -> Packed:
    """Asymmetric four bits with a scale and a zero for each group of inputs, as AutoGPTQ and AutoAWQ write them."""
    grouped = weight.T.float().unflatten(0, (-1, GROUP))  # [groups, group, out]
    low, high = grouped.amin(1, keepdim=True), grouped.amax(1, keepdim=True)
    scales = ((high - low) / 15).half().float()
    zeros = (-low / scales).round().clamp(1, 15)
    values = (grouped / scales + zeros).round().clamp(0, 15)
    tensors = {"scales": scales[:, 0].half()}
    values_IO, zeros_GO = values.flatten(0, 1), zeros[:, 0]
    if method == "awq":
        tensors["qweight"] = to_int32(values_IO, ORDER[method], 1)
        tensors["qzeros"] = to_int32(zeros_GO, ORDER[method], 1)
    else:
        tensors["qweight"] = to_int32(values_IO, ORDER[method], 0)
        tensors["qzeros"] = to_int32(zeros_GO - 1, ORDER[method], 1)
        tensors["g_idx"] = (torch.arange(weight.shape[1]) // GROUP).int()
    return Packed(tensors, ((values - zeros) * scales).flatten(0, 1).T)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def plain(make_model: Callable[..., Any]) -> Any:
    """Layers large enough for the kernels; biases larger than the weights, as Qwen's keys have them."""
    model = make_model(hidden_size=128, intermediate_size=256, head_dim=32, attention_bias=True)
    for name, value in model.named_parameters():
        if name.endswith("k_proj.bias"):
            value.data.normal_(std=30)
    return model


@pytest.fixture
def folder(plain: Any, method: str, tmp_path: Path) -> str:
    """A checkpoint of four-bit layers; `plain` then has their dequantised weights."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / method
    plain.save_pretrained(folder)
    held = {}
    for name, value in load_file(folder / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            packed = pack(value, method)
            plain.get_parameter(name).data.copy_(packed.plain)
            held.update({name.removesuffix("weight") + key: tensor for key, tensor in packed.tensors.items()})
        else:
            held[name] = value
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    own = {"version": "gemm", "zero_point": True} if method == "awq" else {"desc_act": False, "sym": False}
    config["quantization_config"] = {"quant_method": method, "bits": 4, "group_size": GROUP, **own}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def on_cpu(folder: str, **arguments: Any) -> ModelConfig:
    return ModelConfig(name=folder, model_args={"device_map": "cpu"}, **arguments)


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model.eval()(input_ids=IDS).logits.float()


def test_it_computes_with_the_dequantised_weights(
    folder: str, plain: Any, method: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    model = load_model(on_cpu(folder))
    layer = model.model.layers[0].self_attn.k_proj
    assert type(layer).__name__ == {"gptq": "TorchLinear", "awq": "AwqTorchLinear"}[method]
    expected = logits(plain)
    assert (logits(model) - expected).abs().max() < 1e-2 * expected.abs().max()  # its kernels round to half precision
    assert not counters["stats"], "compiled"
    assert not capfd.readouterr().out.strip()


def test_dequantize_gives_those_numbers(folder: str, plain: Any) -> None:
    model = load_model(on_cpu(folder))
    for name, layer in model.named_modules():
        if hasattr(layer, "qweight"):
            expected = plain.get_submodule(name).weight
            assert torch.allclose(dequantize(layer).float(), expected, atol=0, rtol=2**-10)
            assert layer.bias is None or bool(layer.bias.abs().max() > 0) or "k_proj" not in name


def test_the_users_kernel_wins(folder: str, method: str) -> None:
    arguments: dict[str, dict[str, Any]] = {
        "gptq": {"bits": 4, "backend": "gptq_torch_aten"},
        "awq": {"backend": "auto"},
    }
    config_class = {"gptq": "GPTQConfig", "awq": "AwqConfig"}[method]
    section = QuantizationConfig(config_class=config_class, args=arguments[method])
    model = load_model(on_cpu(folder, quantization=section))
    assert "Aten" in type(model.model.layers[0].mlp.up_proj).__name__
    without = {key: value for key, value in arguments[method].items() if key != "backend"}
    model = load_model(on_cpu(folder, quantization=QuantizationConfig(config_class=config_class, args=without)))
    assert "Aten" not in type(model.model.layers[0].mlp.up_proj).__name__


def test_every_initialiser_starts_as_the_base_learns_and_reloads(
    folder: str, method: str, init: bool | str, learns_and_reloads: Callable[..., None]
) -> None:
    # AWQ's kernel computes in half precision, which amplifies the last bit of float32 in the sum of the two adapters.
    learns_and_reloads(on_cpu(folder), init, noise=1e-5 if method == "gptq" else 2e-3)
