"""Merging: the same scores in one model with any method; differences are reported or rejected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from sft.config.sections.model import ModelConfig, QuantizationConfig
from sft.errors import ModelError, UserError
from sft.export.agreement import EXACT, probes_for
from sft.export.merge import write_merged
from sft.export.source import Trained
from sft.model.load import load_model

LINEAR = {"target_modules": "all-linear"}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("gpt2", {"peft_type": "LORA", "r": 4, "use_rslora": True, **LINEAR}),
    "head": ("llama", {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    "dora": ("llama", {"peft_type": "LORA", "r": 4, "use_dora": True, **LINEAR}),
}
FURTHER: dict[str, tuple[str, dict[str, Any]]] = {
    "ia3": ("llama", {"peft_type": "IA3"}),
    "loha": ("llama", {"peft_type": "LOHA", "r": 4, **LINEAR}),
    "pissa": ("qwen2", {"peft_type": "LORA", "r": 4, "init_lora_weights": "pissa", **LINEAR}),
    "oft": ("llama", {"peft_type": "OFT", "oft_block_size": 8, **LINEAR}),
    "ln": ("llama", {"peft_type": "LN_TUNING", "target_modules": ["input_layernorm"]}),
}


TIED = {"tie_word_embeddings": True}


def merge(folder: Path, base: ModelConfig, to: Path, dtype: str = "float32") -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    trained = Trained("mine", folder, True, base)
    return write_merged(trained, tokenizer, to, dtype, probes_for(None, tokenizer), {"run": "r"})


@pytest.mark.parametrize("kind", [*KINDS, *(pytest.param(kind, marks=pytest.mark.long) for kind in FURTHER)])
def test_a_merged_model_is_the_base_with_its_adapter(
    save_base: Any, train_adapter: Any, logits: Any, tmp_path: Path, kind: str
) -> None:
    family, section = {**KINDS, **FURTHER}[kind]
    base = ModelConfig(name=save_base(family))
    folder, model = train_adapter(base, **section)
    compared = merge(folder, base, tmp_path / "merged")
    assert compared.merged < 1e-4 and compared.written < 1e-4 and compared.quantized is None
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert torch.allclose(logits(plain), logits(model), atol=1e-5)
    assert (logits(plain) - logits(AutoModelForCausalLM.from_pretrained(base.name))).abs().max() > 1e-3
    assert not (tmp_path / "merged" / "adapter_config.json").exists()


@pytest.mark.parametrize("layer", ["embed_tokens", "lm_head"])
def test_a_layer_tied_to_the_adapted_layer_does_not_change(
    save_base: Any, train_adapter: Any, logits: Any, tmp_path: Path, layer: str
) -> None:
    """PEFT merges into the shared weight, while the unmerged adapter changes only one of the layers."""
    base = ModelConfig(name=save_base(**TIED))
    folder, model = train_adapter(base, peft_type="LORA", r=4, target_modules=[layer])
    assert merge(folder, base, tmp_path / "merged").written < 1e-4
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert torch.allclose(logits(plain), logits(model), atol=1e-5)
    assert load_model(base).config.tie_word_embeddings and not plain.config.tie_word_embeddings


@pytest.mark.parametrize("quantisation", ["nf4", pytest.param("int8", marks=pytest.mark.long)])
def test_a_quantised_base_is_dequantised_and_the_change_is_reported(
    save_base: Any, train_adapter: Any, logits: Any, tmp_path: Path, quantisation: str
) -> None:
    pytest.importorskip("bitsandbytes")
    args = {"load_in_8bit": True} if quantisation == "int8" else {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    section = QuantizationConfig(config_class="BitsAndBytesConfig", args=args)
    name = save_base(hidden_size=128, intermediate_size=256, head_dim=32)
    base = ModelConfig(name=name, quantization=section, model_args={"device_map": "cpu"})
    folder, model = train_adapter(base)
    compared = merge(folder, base, tmp_path / "merged")
    assert compared.merged < 1e-4 and compared.quantized is not None and compared.quantized < 0.1
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    plain, trained = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged")), logits(model)
    on_the_plain_base = logits(AutoModelForCausalLM.from_pretrained(name))
    assert (plain - trained).abs().max() < 0.1 * (on_the_plain_base - trained).abs().max()


def test_weights_are_rounded_once_and_the_change_is_reported(
    save_base: Any, train_adapter: Any, tmp_path: Path
) -> None:
    base = ModelConfig(name=save_base())
    folder, _ = train_adapter(base)
    compared = merge(folder, base, tmp_path / "merged", "bfloat16")
    assert compared.merged < 1e-4 < compared.written < 0.5
    exact = merge(folder, base, tmp_path / "exact")
    assert exact.written < 1e-4
    rounded, held = (load_file(tmp_path / name / "model.safetensors") for name in ("merged", "exact"))
    assert all(torch.equal(rounded[name], held[name].to(torch.bfloat16)) for name in held)


@pytest.mark.parametrize("section", [{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3}])
def test_virtual_tokens_cannot_be_merged(
    save_base: Any, train_adapter: Any, tmp_path: Path, section: dict[str, Any]
) -> None:
    base = ModelConfig(name=save_base())
    folder, _ = train_adapter(base, **section)
    with pytest.raises(UserError, match="--merge: PROMPT_TUNING adds tokens or layers, which cannot be merged"):
        merge(folder, base, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_failed_merge_writes_nothing_and_keeps_an_earlier_one(
    save_base: Any, train_adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import LoraModel

    base = ModelConfig(name=save_base())
    folder, _ = train_adapter(base)
    merge(folder, base, tmp_path / "earlier")
    before = {file.name: file.read_bytes() for file in (tmp_path / "earlier").iterdir()}
    monkeypatch.setattr(LoraModel, "merge_and_unload", lambda self, safe_merge: self.unload())
    for name in ("new", "earlier"):
        with pytest.raises(
            ModelError, match=r"merging changes the ends of 3 sentences by up to .* nats, more than 0.00"
        ):
            merge(folder, base, tmp_path / name)
    assert not (tmp_path / "new").exists()
    assert {file.name: file.read_bytes() for file in (tmp_path / "earlier").iterdir()} == before


def test_a_written_model_that_differs_from_the_merged_one_is_rejected(
    save_base: Any, train_adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sft.export import merge as module

    base = ModelConfig(name=save_base())
    folder, _ = train_adapter(base)
    write = module.write_model

    def write_changed(model: Any, tokenizer: Any, to: Path) -> None:
        model.model.layers[0].mlp.up_proj.weight.data *= 1.01
        write(model, tokenizer, to)

    monkeypatch.setattr(module, "write_model", write_changed)
    with pytest.raises(ModelError, match="the written model changes the ends of 3 sentences"):
        merge(folder, base, tmp_path / "merged")
    assert not (tmp_path / "merged").exists() and EXACT == 1e-3
