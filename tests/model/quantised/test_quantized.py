"""Handling of quantised bases, tested on small substitutes for the libraries' layers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from sft.config.sections.lora import LoraSection
from sft.config.sections.model import ModelConfig, QuantizationConfig
from sft.errors import ModelError
from sft.model.adapters import create_adapter
from sft.model.load import load_model
from sft.model.quantised.quantized import packed_linear_names, require_trainable


class Kernel(nn.Linear):
    """A substitute for a layer of gptqmodel."""

    SUPPORTS_TRAINING = True

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__(plain.in_features, plain.out_features)
        self.register_buffer("qweight", torch.zeros(1))


class InferenceKernel(Kernel):
    SUPPORTS_TRAINING = False


def packed(model: Any, kind: type[Kernel] = Kernel) -> Any:
    for name, layer in list(model.named_modules()):
        if name.endswith(("up_proj", "down_proj")):
            model.set_submodule(name, kind(layer))
    return model


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_nothing_is_named_where_peft_finds_the_layers_itself(make_model: Callable[..., Any], family: str) -> None:
    assert packed_linear_names(make_model(family)) == []


def test_the_names_of_all_layers_but_the_head(make_model: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    model = packed(make_model())
    model.set_submodule("lm_head", Kernel(model.lm_head))
    names = packed_linear_names(model)
    assert len(names) == 2 * 7 and "lm_head" not in names and "model.layers.1.mlp.up_proj" in names
    caplog.set_level("INFO")
    adapted = create_adapter(model, LoraSection(r=2, target_modules="all-linear"), None, seed=1)
    assert set(adapted.peft_config["default"].target_modules) == set(names)
    assert "lora.target_modules: all-linear selects 14 layers" in caplog.text


def test_a_kernel_for_inference_only_is_refused(make_model: Callable[..., Any]) -> None:
    require_trainable(packed(make_model()))
    with pytest.raises(ModelError, match=r"kernel InferenceKernel.* supports inference only"):
        create_adapter(packed(make_model(), InferenceKernel), LoraSection(r=2, target_modules="all-linear"), None, 1)


def test_a_method_for_inference_only_is_refused(make_model: Callable[..., Any]) -> None:
    model = make_model()
    model.hf_quantizer, model.quantization_method = SimpleNamespace(is_trainable=False), "eetq"
    with pytest.raises(ModelError, match=r"eetq.* supports inference only"):
        require_trainable(model)


def test_four_bit_layers_do_not_repack(save_model: Callable[..., str]) -> None:
    """On CPUs where they would, `test_bitsandbytes.py` shows what that changes; this holds on any."""
    pytest.importorskip("bitsandbytes")
    section = QuantizationConfig(config_class="BitsAndBytesConfig", args={"load_in_4bit": True})
    config = ModelConfig(name=save_model(hidden_size=128), quantization=section, model_args={"device_map": "cpu"})
    flags = [
        layer.support_avx512bf16_for_cpu
        for layer in load_model(config).modules()
        if type(layer).__name__ == "Linear4bit"
    ]
    assert len(flags) == 2 * 7 and not any(flags)
