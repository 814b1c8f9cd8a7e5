"""Initialisers put into a model's LoRA layers, by PEFT's own structure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from sft.errors import ModelError, UserError
from sft.initialization.apply import apply_initializer, target_layers

OWN = """
import torch

def shifted(layer, rank, dtype):
    out, size = layer.weight.shape
    return {"lora_A": torch.ones(rank, size, dtype=dtype), "lora_B": torch.full((out, rank), 2.0, dtype=dtype)}

def turned(layer, rank, dtype):
    return {key: value.T for key, value in shifted(layer, rank, dtype).items()}

def infinite(layer, rank, dtype):
    return {key: value * float("inf") for key, value in shifted(layer, rank, dtype).items()}

def lists(layer, rank, dtype):
    return {"lora_A": [1.0], "lora_B": [1.0]}

def busy(layer, rank, dtype):
    torch.set_num_threads(torch.get_num_threads() + 1)
    return {"lora_A": torch.ones(rank, layer.weight.shape[1]), "lora_B": torch.zeros(layer.weight.shape[0], rank)}

def bare(layer, rank, dtype):
    return shifted(layer, rank, dtype)["lora_A"]
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_init.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))


def with_lora(model: Any, **arguments: Any) -> Any:
    given = {"r": 4, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM", **arguments}
    return get_peft_model(model, LoraConfig(**given))


def test_every_lora_layer_gets_the_matrices_of_its_own_weight(make_model: Callable[..., Any]) -> None:
    model = with_lora(make_model(), rank_pattern={"down_proj": 6})
    apply_initializer(model, "pca", "default")
    targets = target_layers(model, "default")
    assert len(targets) == 4
    for target in targets:
        rank = 6 if "down_proj" in target.name else 4
        _, _, right = torch.linalg.svd(target.layer.get_base_layer().weight.detach())
        matrix = target.layer.lora_A["default"].weight
        assert torch.allclose(matrix.abs(), right[:rank].abs(), atol=1e-3)
        assert matrix.requires_grad


@pytest.mark.parametrize(("rslora", "scaling"), [(False, 16 / 4), (True, 16 / 2)])
def test_the_start_is_in_the_weights_units_whatever_the_scaling(
    make_model: Callable[..., Any], rslora: bool, scaling: float
) -> None:
    model = with_lora(make_model(), lora_alpha=16, use_rslora=rslora)
    apply_initializer(model, "pissa", "default")
    layer = target_layers(model, "default")[0].layer
    assert layer.scaling["default"] == pytest.approx(scaling)
    start = scaling * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    left, values, right = torch.linalg.svd(layer.get_base_layer().weight.detach(), full_matrices=False)
    assert torch.allclose(start, (left[:, :4] * values[:4]) @ right[:4], atol=1e-5)


def test_a_users_initialiser(make_model: Callable[..., Any], own: None) -> None:
    model = with_lora(make_model(), lora_alpha=4)
    apply_initializer(model, "own_init:shifted", "default")
    layer = target_layers(model, "default")[0].layer
    assert bool((layer.lora_A["default"].weight == 1).all()) and bool((layer.lora_B["default"].weight == 2).all())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_init:turned", r"lora_A: expected shape \[4, 32\], got \[32, 4\]"),
        ("own_init:infinite", "lora_A contains NaN or infinite"),
        ("own_init:lists", "lora_A: expected a tensor, got list"),
        ("own_init:bare", "expected a dict"),
    ],
)
def test_wrong_results_name_the_initialiser_and_the_layer(
    make_model: Callable[..., Any], own: None, name: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        apply_initializer(with_lora(make_model()), name, "default")
    assert f'initialiser "{name}", layer "model.layers.0.self_attn.q_proj": ' in str(caught.value)


def test_a_rank_too_large_names_the_layer(make_model: Callable[..., Any]) -> None:
    model = with_lora(make_model(), r=20, target_modules=["k_proj"])
    with pytest.raises(ModelError, match=r'layer "model.layers.0.self_attn.k_proj": expected a rank .*, got 20'):
        apply_initializer(model, "pca", "default")


def test_an_embedding_is_refused(make_model: Callable[..., Any]) -> None:
    with pytest.raises(ModelError, match=r'"model.embed_tokens" is not linear but Embedding'):
        apply_initializer(with_lora(make_model(), target_modules=["embed_tokens"]), "pca", "default")


def test_an_unknown_name_is_refused(make_model: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match='did you mean "pca"'):
        apply_initializer(with_lora(make_model()), "pac", "default")


def test_transposed_layers(make_model: Callable[..., Any]) -> None:
    model = with_lora(make_model("gpt2"), target_modules=["c_attn"], fan_in_fan_out=True)
    apply_initializer(model, "pca", "default")
    layer = target_layers(model, "default")[0].layer
    assert not isinstance(layer.get_base_layer(), nn.Linear)
    _, _, right = torch.linalg.svd(layer.get_base_layer().weight.detach().T)
    assert torch.allclose(layer.lora_A["default"].weight.abs(), right[:4].abs(), atol=1e-3)


def test_the_threads_stay_as_many_as_they_were(make_model: Callable[..., Any], own: None) -> None:
    """numba, which UMAP uses, shares them with torch."""
    before = torch.get_num_threads()
    apply_initializer(with_lora(make_model()), "own_init:busy", "default")
    assert torch.get_num_threads() == before
