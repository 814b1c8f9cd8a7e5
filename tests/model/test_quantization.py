"""Quantisation by the names of transformers, and one line for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sft.config.model import ModelConfig, QuantizationConfig
from sft.errors import MissingPackageError, ModelError
from sft.model import quantization
from sft.model.load import load_model
from sft.model.quantization import quantization_config


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
    with pytest.raises(MissingPackageError, match="pip install gptqmodel"):
        load_model(ModelConfig(name=str(tmp_path)))
