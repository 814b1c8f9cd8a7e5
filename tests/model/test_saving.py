"""Saved files: adapters in vLLM's format if possible, and whole models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from sft.config.sections.lora import AdapterSection
from sft.config.sections.model import ModelConfig
from sft.errors import ModelError
from sft.model.adapters import create_adapter
from sft.model.load import load_model
from sft.model.saving import save_adapter, save_model, vllm_obstacle
from sft.model.sealed import read_record

IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model.eval()(input_ids=IDS).logits.float()


def lora(**arguments: Any) -> AdapterSection:
    return AdapterSection(peft_type="LORA", **{"r": 4, "target_modules": "all-linear", **arguments})


@pytest.mark.parametrize("init", [True, "pissa"])
@pytest.mark.parametrize("use_rslora", [False, True])
def test_a_plain_lora_is_as_vllm_reads_it(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, init: Any, use_rslora: bool
) -> None:
    """By the rules of its loader: one scaling from r and lora_alpha, matrices of linear layers by their names."""
    section = lora(init_lora_weights=init, use_rslora=use_rslora)
    model = create_adapter(make_model(), None, section, 5)
    for name, value in model.named_parameters():
        if ".default." in name:
            value.data += 0.05 * torch.randn_like(value)
    assert save_adapter(model, tokenizer, tmp_path, "some/base") == ""
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    plain = {"peft_type": "LORA", "bias": "none", "use_dora": False, "modules_to_save": None}
    assert {key: saved[key] for key in plain} == plain
    scaling = saved["lora_alpha"] / (saved["r"] ** 0.5 if saved["use_rslora"] else saved["r"])
    base, layers = make_model(), {}
    for name, tensor in load_file(tmp_path / "adapter_model.safetensors").items():
        found = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        assert found is not None
        layers.setdefault(found[1], {})[found[2]] = tensor
    for name, matrices in layers.items():
        layer = base.get_submodule(name)
        assert isinstance(layer, torch.nn.Linear)
        assert matrices["A"].shape == (saved["r"], layer.in_features)
        assert matrices["B"].shape == (layer.out_features, saved["r"])
        layer.weight.data += scaling * matrices["B"] @ matrices["A"]
    assert torch.allclose(logits(base), logits(model), atol=1e-5)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (lora(use_dora=True), "it does not support use_dora"),
        (lora(target_modules=["q_proj"], modules_to_save=["lm_head"]), "it does not support modules_to_save"),
        (lora(target_modules=["q_proj"], bias="lora_only"), "it does not support bias"),
        (lora(rank_pattern={"down_proj": 2}), "would ignore rank_pattern"),
        (lora(alpha_pattern={"down_proj": 2}), "would ignore alpha_pattern"),
        (lora(target_modules=["embed_tokens"]), "it does not support base_model.model.model.embed_tokens."),
        (AdapterSection(peft_type="IA3"), "IA3 is not LoRA"),
        (AdapterSection(peft_type="PROMPT_TUNING", num_virtual_tokens=3), "PROMPT_TUNING is not LoRA"),
    ],
)
def test_obstacles_of_vllm_are_reported(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, section: AdapterSection, message: str
) -> None:
    assert message in save_adapter(create_adapter(make_model(), None, section, 5), tokenizer, tmp_path, "some/base")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert message in vllm_obstacle(config, load_file(tmp_path / "adapter_model.safetensors"))


def test_a_whole_model_loads_anywhere(make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> None:
    model = make_model("gpt2", seed=3)
    model.generation_config.temperature = 0.5  # without sampling: accepted when loading, refused when saving
    save_model(model, tokenizer, tmp_path / "saved", {"run": "first"})
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(logits(plain), logits(model))
    assert plain.generation_config.temperature == model.generation_config.temperature == 0.5
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").chat_template == tokenizer.chat_template
    assert read_record(tmp_path / "saved") == {"run": "first"}
    files = json.loads((tmp_path / "saved" / "sft.json").read_text())["files"]
    assert {"config.json", "model.safetensors", "generation_config.json", "chat_template.jinja"} <= files.keys()
    assert not any(path.name.startswith(".") for path in (tmp_path / "saved").iterdir())


def test_a_model_saved_over_another_leaves_nothing_of_it(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of weights left over would be loaded instead of the new ones."""
    first, second = make_model(seed=1), make_model(seed=2)
    save_pretrained = type(first).save_pretrained
    with monkeypatch.context() as patched:
        patched.setattr(
            type(first), "save_pretrained", lambda self, to: save_pretrained(self, to, max_shard_size="9KB")
        )
        save_model(first, tokenizer, tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2 and torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), logits(first))
    (tmp_path / "notes.txt").write_text("mine")
    shards[0].write_bytes(shards[0].read_bytes() + b" ")  # changed by the user: not removed
    save_model(second, tokenizer, tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), logits(second))
    assert sorted(tmp_path.glob("model-*")) == [shards[0]] and (tmp_path / "notes.txt").exists()


def test_a_model_and_an_adapter_never_replace_each_other(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    adapter = create_adapter(make_model(), None, lora(), 5)
    save_model(make_model(), tokenizer, tmp_path / "model")
    save_adapter(adapter, tokenizer, tmp_path / "adapter", "some/base")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(
        ModelError, match=r"model contains a whole model \(config.json\); choose another folder for the ad"
    ):
        save_adapter(adapter, tokenizer, tmp_path / "model", "some/base")
    with pytest.raises(ModelError, match=r"adapter contains an adapter \(adapter_config.json\); choose another folder"):
        save_model(make_model(), tokenizer, tmp_path / "adapter")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_model_of_somebody_else_is_never_overwritten(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    make_model().save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(ModelError, match=r"contains a model that was not written by this tool \(config.json\)"):
        save_model(make_model(seed=3), tokenizer, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_save_that_was_cut_short_is_no_model(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(make_model(seed=1), tokenizer, tmp_path)
    replace, left = Path.replace, [3]

    def cut_short(path: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "replace", cut_short)
        save_model(make_model(seed=2), tokenizer, tmp_path)
    with pytest.raises(ModelError, match=r"model.name: .* is incomplete or corrupt"):
        load_model(ModelConfig(name=str(tmp_path)))
    save_model(make_model(seed=2), tokenizer, tmp_path)
    assert torch.equal(logits(load_model(ModelConfig(name=str(tmp_path)))), logits(make_model(seed=2)))


def test_names_in_a_marker_from_elsewhere_reach_no_file_outside(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    (tmp_path / "saved").mkdir()
    names = ["../precious.txt", str(tmp_path / "precious.txt")]
    (tmp_path / "saved" / "sft.json").write_text(json.dumps({"files": dict.fromkeys(names, "")}))
    save_model(make_model(), tokenizer, tmp_path / "saved")
    assert (tmp_path / "precious.txt").read_text() == "mine"
