"""The frozen adapter: step 0, folding into one LoRA, and the check at step 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from sft.errors import ModelError
from sft.initialization.apply import apply_initializer, target_layers
from sft.initialization.hold import HELD, check_step_zero, fold_config, fold_tensors, hold_start, starts_elsewhere


def with_lora(model: Any, **arguments: Any) -> Any:
    given = {"r": 4, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM", **arguments}
    return get_peft_model(model, LoraConfig(**given)).eval()


def test_a_start_is_seen_refused_and_held(make_model: Callable[..., Any]) -> None:
    model = with_lora(make_model())
    assert not starts_elsewhere(model, "default")
    apply_initializer(model, "pissa", "default")
    assert starts_elsewhere(model, "default")
    with pytest.raises(ModelError, match="mine changes the model's function at step 0"):
        check_step_zero(model, "mine")
    hold_start(model, "default")
    check_step_zero(model, "mine")
    trainable = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trainable and all(".default." in name for name in trainable)
    held = target_layers(model, HELD)[0].layer
    assert torch.equal(held.lora_B[HELD].weight, -held.lora_B["default"].weight)


def test_the_check_sees_nan_and_restores_the_modes(make_model: Callable[..., Any]) -> None:
    model = with_lora(make_model()).train()
    check_step_zero(model, "mine")
    assert all(module.training for module in model.modules())
    target_layers(model, "default")[0].layer.lora_A["default"].weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="changes the model's function"):
        check_step_zero(model, "mine")


def test_dora_is_refused(make_model: Callable[..., Any]) -> None:
    model = with_lora(make_model(), use_dora=True)
    apply_initializer(model, "pissa", "default")
    with pytest.raises(ModelError, match="use_dora"):
        hold_start(model, "default")


@pytest.mark.parametrize("rslora", [False, True])
def test_the_folded_config_keeps_each_scaling(make_model: Callable[..., Any], rslora: bool) -> None:
    config = LoraConfig(
        r=4, lora_alpha=6, use_rslora=rslora, rank_pattern={"q_proj": 2}, alpha_pattern={"down_proj": 5},
        target_modules=["q_proj", "down_proj", "o_proj"],
    )  # fmt: skip
    one, two = get_peft_model(make_model(), config), get_peft_model(make_model(), fold_config(config))
    for small, large in zip(target_layers(one, "default"), target_layers(two, "default"), strict=True):
        assert large.layer.r["default"] == 2 * small.layer.r["default"]
        assert large.layer.scaling["default"] == pytest.approx(small.layer.scaling["default"], rel=1e-12)
    assert config.r == 4  # the original stays


def test_the_folded_tensors_are_the_difference() -> None:
    a, b, a0, b0 = torch.randn(2, 5), torch.randn(3, 2), torch.randn(2, 5), torch.randn(3, 2)
    folded = fold_tensors(
        {"x.lora_A.weight": a, "x.lora_B.weight": b, "lm_head.weight": a},
        {"x.lora_A.weight": a0, "x.lora_B.weight": -b0},
    )
    product = folded["x.lora_B.weight"] @ folded["x.lora_A.weight"]
    assert torch.allclose(product, b @ a - b0 @ a0, atol=1e-6)
    assert folded["lm_head.weight"] is a
