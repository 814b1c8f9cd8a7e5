"""Bases that torchao quantises: configured in JSON, trained, saved and loaded again; errors on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sft.config.sections.model import ModelConfig, QuantizationConfig
from sft.errors import ModelError
from sft.initialization.dequantize import dequantize
from sft.model.load import load_model
from sft.model.quantised.quantization import quantization_config

pytest.importorskip("torchao")

IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])


def torchao(quant_type: Any) -> QuantizationConfig:
    return QuantizationConfig(config_class="TorchAoConfig", args={"quant_type": quant_type})


@pytest.fixture
def folder(save_model: Callable[..., str]) -> str:
    return save_model(hidden_size=128, intermediate_size=256, head_dim=32)


@pytest.mark.parametrize("value", ["int8_weight_only", "Int8WeightOnlyConfig", {"class": "Int8WeightOnlyConfig"}])
def test_a_kind_by_its_name(value: Any) -> None:
    made = quantization_config(torchao(value))
    assert type(made.quant_type).__name__ == "Int8WeightOnlyConfig"


def test_arguments_may_be_objects_and_dtypes() -> None:
    value = {"class": "Int8WeightOnlyConfig", "granularity": {"class": "PerGroup", "group_size": 32}}
    assert quantization_config(torchao(value)).quant_type.granularity.group_size == 32
    value = {"class": "Float8WeightOnlyConfig", "weight_dtype": "torch.float8_e5m2"}
    assert quantization_config(torchao(value)).quant_type.weight_dtype == torch.float8_e5m2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("int8_weight_onl", r'torchao has no "Int8WeightOnlConfig"; did you mean "Int8WeightOnlyConfig"\?'),
        ({"class": "Int8WeightOnlyConfig", "group": 32}, "Int8WeightOnlyConfig says: .*'group'"),
        ({"class": "Int8WeightOnlyConfig", "group_size": 32}, "Int8WeightOnlyConfig says: "),
        ({"name": "Int8WeightOnlyConfig"}, "expected a name"),
        (None, "expected a name"),
    ],
)
def test_unknown_types_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ModelError, match=f"model.quantization.args.quant_type: {message}") as caught:
        quantization_config(torchao(value))
    assert "\n" not in str(caught.value)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["int8_weight_only", "float8_weight_only"])
def test_it_computes_with_the_weights_that_are_read(folder: str, make_model: Callable[..., Any], kind: str) -> None:
    model = load_model(ModelConfig(name=folder, quantization=torchao(kind), model_args={"device_map": "cpu"}))
    plain = make_model(hidden_size=128, intermediate_size=256, head_dim=32)
    changed = 0
    for name, layer in model.named_modules():
        if name.endswith("_proj"):
            weight = plain.get_submodule(name).weight
            read = dequantize(layer)
            assert type(read) is torch.Tensor and (read - weight).abs().max() < 0.05 * weight.abs().max()
            changed += not torch.equal(read, weight)
            weight.data.copy_(read)
    assert changed == 2 * 7
    expected = plain(IDS).logits
    assert (model(IDS).logits - expected).abs().max() < 1e-2 * expected.abs().max()


def test_it_starts_as_the_base_learns_and_reloads(
    folder: str, init: bool | str, learns_and_reloads: Callable[..., None]
) -> None:
    config = ModelConfig(name=folder, quantization=torchao("int8_weight_only"), model_args={"device_map": "cpu"})
    learns_and_reloads(config, init)


def test_a_base_saved_quantised_is_loaded_as_it_is(folder: str, tmp_path: Path) -> None:
    config = ModelConfig(name=folder, quantization=torchao("int8_weight_only"), model_args={"device_map": "cpu"})
    model = load_model(config)
    model.save_pretrained(tmp_path / "quantised")
    again = load_model(ModelConfig(name=str(tmp_path / "quantised"), model_args={"device_map": "cpu"}))
    assert torch.equal(again(IDS).logits, model(IDS).logits)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU may be able to")
def test_what_a_cpu_cannot_convert_is_one_line(folder: str) -> None:
    with pytest.raises(ModelError, match="TorchAoConfig cannot convert the weights on this device") as caught:
        load_model(ModelConfig(name=folder, quantization=torchao({"class": "Int4WeightOnlyConfig", "group_size": 32})))
    assert "\n" not in str(caught.value)


def test_nobody_hears_that_it_was_imported(folder: str) -> None:
    """transformers imports it wherever it is installed."""
    code = (
        "from sft.config.sections.model import ModelConfig; from sft.model.load import load_model; import sys; "
        f"load_model(ModelConfig(name={folder!r})); assert 'torchao' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert not (done.stdout + done.stderr).strip()
