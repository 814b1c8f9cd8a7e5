"""Quantisation by the names of transformers, and one-line errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sft.config.sections.model import ModelConfig, QuantizationConfig
from sft.errors import MissingPackageError, ModelError
from sft.model.load import load_model
from sft.model.quantised import quantization
from sft.model.quantised.quantization import loading_config, quantization_config


def section(config_class: str, **args: Any) -> QuantizationConfig:
    return QuantizationConfig(config_class=config_class, args=args)


def test_arguments_go_through() -> None:
    pytest.importorskip("bitsandbytes")
    made = quantization_config(
        section(
            "BitsAndBytesConfig", load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype="bfloat16",
            bnb_4bit_use_double_quant=True,
        )
    )  # fmt: skip
    assert made.load_in_4bit and made.bnb_4bit_quant_type == "nf4" and made.bnb_4bit_use_double_quant
    assert made.bnb_4bit_compute_dtype == torch.bfloat16


def test_unknown_classes_and_arguments() -> None:
    with pytest.raises(ModelError, match=r'no "BitAndBytesConfig"; did you mean "BitsAndBytesConfig"\?'):
        quantization_config(section("BitAndBytesConfig"))
    with pytest.raises(ModelError, match="config_class: transformers has no"):
        quantization_config(section("LlamaConfig"))
    with pytest.raises(ModelError, match=r'has no "load_in_8bits"; did you mean "load_in_8bit"\?'):
        quantization_config(section("BitsAndBytesConfig", load_in_8bits=True))
    with pytest.raises(ModelError, match="BitsAndBytesConfig says"):
        quantization_config(section("BitsAndBytesConfig", load_in_8bit=True, load_in_4bit=True))


def test_hqq_is_refused() -> None:
    with pytest.raises(ModelError, match="HQQ does not work"):
        quantization.require_method("hqq")


def test_a_missing_package_has_its_pip_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(quantization, "_installed", lambda module: False)
    with pytest.raises(MissingPackageError, match="pip install bitsandbytes"):
        quantization_config(section("BitsAndBytesConfig", load_in_8bit=True))
    # a checkpoint that is quantised already asks for its package before it is loaded
    config = {"model_type": "llama", "quantization_config": {"quant_method": "awq", "bits": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        MissingPackageError, match=r'needs the packages "gptqmodel.*" and "optimum": pip install gptqmod'
    ):
        load_model(ModelConfig(name=str(tmp_path)))
    monkeypatch.setattr(quantization, "_installed", lambda module: module == "gptqmodel")
    with pytest.raises(MissingPackageError, match=r'needs the package "optimum": pip install optimum$'):
        load_model(ModelConfig(name=str(tmp_path)))


def stored(folder: Path, **settings: Any) -> ModelConfig:
    """Write the config of a quantised checkpoint."""
    config = {"model_type": "llama", "quantization_config": settings}
    (folder / "config.json").write_text(json.dumps(config))
    return ModelConfig(name=str(folder))


@pytest.mark.parametrize(
    ("method", "device", "backend"),
    [
        ("gptq", "cpu", "gptq_torch"), ("awq", "cpu", "torch_awq"),
        ("gptq", "cuda", "auto_trainable"), ("awq", "cuda", "auto_trainable"), ("awq", "mps", "torch_awq"),
    ],
)  # fmt: skip
def test_a_stored_gptq_or_awq_gets_a_kernel_that_can_be_trained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str, device: str, backend: str
) -> None:
    monkeypatch.setattr(quantization, "_installed", lambda module: True)
    config = stored(tmp_path, quant_method=method, bits=4)
    made = loading_config(config, torch.device(device))
    assert made.quant_method.value == method and made.backend == backend and made.bits == 4
    # the config's own section, without a kernel and with one
    config_class = "GPTQConfig" if method == "gptq" else "AwqConfig"
    for given, expected in (({}, backend), ({"backend": "auto"}, "auto")):
        own = config.model_copy(update={"quantization": section(config_class, bits=4, **given)})
        assert loading_config(own, torch.device(device)).backend == expected


def test_other_bases_are_loaded_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cpu = torch.device("cpu")
    assert loading_config(stored(tmp_path, quant_method="fp8"), cpu) is None
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert loading_config(ModelConfig(name=str(tmp_path)), cpu) is None
    with pytest.raises(ModelError, match="HQQ does not work"):
        loading_config(stored(tmp_path, quant_method="hqq"), cpu)


def test_int8_whose_numbers_depend_on_the_batch_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("bitsandbytes")
    quantization_config(section("BitsAndBytesConfig", load_in_8bit=True, llm_int8_threshold=0.0))
    quantization_config(section("BitsAndBytesConfig", load_in_4bit=True))
    assert not caplog.records
    quantization_config(section("BitsAndBytesConfig", load_in_8bit=True))
    assert "llm_int8_threshold (6.0)" in caplog.text


def test_a_threshold_may_be_an_integer_as_jsonnet_writes_it() -> None:
    pytest.importorskip("bitsandbytes")
    made = quantization_config(section("BitsAndBytesConfig", load_in_8bit=True, llm_int8_threshold=0))
    assert made.llm_int8_threshold == 0.0
