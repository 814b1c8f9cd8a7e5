"""PEFT's initialisations on copies: the same matrices as PEFT's, without changing the base's weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from sft.errors import ModelError
from sft.initialization import cache
from sft.initialization.apply import target_layers
from sft.initialization.peft_own import start_on_copies

GIVEN = {
    "r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"], "rank_pattern": {"down_proj": 2},
    "alpha_pattern": {"down_proj": 5}, "use_rslora": True, "task_type": "CAUSAL_LM",
}  # fmt: skip


def with_lora(model: Any, **arguments: Any) -> Any:
    return get_peft_model(model, LoraConfig(**{**GIVEN, **arguments}))


@pytest.mark.filterwarnings("ignore:Using Rank-Stabilized LoRA with rank_pattern")
@pytest.mark.parametrize("init", ["olora", "pissa_niter_2", "orthogonal"])
def test_the_matrices_are_those_of_peft(make_model: Callable[..., Any], init: str) -> None:
    base = make_model()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    model = with_lora(base)
    torch.manual_seed(1)
    start_on_copies(model, "default", init, {})
    other = make_model()
    torch.manual_seed(1)
    wanted = with_lora(other, init_lora_weights=init)
    for target, own in zip(target_layers(model, "default"), target_layers(wanted, "default"), strict=True):
        start, peft = (
            layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
            for layer in (target.layer, own.layer)
        )
        assert torch.allclose(start, peft, atol=1e-5)
        assert torch.equal(target.layer.get_base_layer().weight, before[f"{target.name}.weight"])
        rewritten = not torch.equal(own.layer.get_base_layer().weight, before[f"{target.name}.weight"])
        assert rewritten is (init != "orthogonal")  # by PEFT


def test_olora_is_kept_and_random_ones_are_not(
    make_model: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "SMALLEST", 1)
    for init, files in (("olora", 4), ("olora", 4), ("pissa_niter_2", 4)):
        start_on_copies(with_lora(make_model()), "default", init, {})
        assert len(list(cache.cache_folder().iterdir())) == files


def test_the_approximation_is_logged(make_model: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    start_on_copies(with_lora(make_model()), "default", "pissa_niter_2", {})
    assert 'init_lora_weights "pissa_niter_2" is approximate; "pissa" is exact' in caplog.text


def test_an_error_of_peft_names_the_layer(make_model: Callable[..., Any]) -> None:
    with pytest.raises(ModelError, match=r'"orthogonal", layer "model.layers.0.self_attn.q_proj": PEFT says: .*even'):
        start_on_copies(with_lora(make_model(), r=3), "default", "orthogonal", {})


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU it works")
def test_loftq_without_a_gpu(make_model: Callable[..., Any]) -> None:
    with pytest.raises(ModelError, match='"loftq" on a GPU only'):
        start_on_copies(with_lora(make_model()), "default", "loftq", {})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PEFT computes it on a GPU only")
def test_loftq_starts_along_what_quantisation_loses(make_model: Callable[..., Any]) -> None:
    pytest.importorskip("bitsandbytes")
    model = with_lora(make_model(hidden_size=128, intermediate_size=256, head_dim=32))
    start_on_copies(model, "default", "loftq", {"loftq_iter": 2})
    for target in target_layers(model, "default"):
        weight, layer = target.layer.get_base_layer().weight, target.layer
        start = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        assert 0 < start.norm() < 0.2 * weight.norm()
