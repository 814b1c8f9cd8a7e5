"""PEFT's data-driven initialisations: correct, without changing the base, with clear errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from sft.errors import ModelError
from sft.initialization import on_data
from sft.initialization.apply import target_layers
from sft.initialization.on_data import start_on_data
from sft.prompting.prompt import Prompt

ROWS = [Prompt([7 * row % 250 + target for target in range(40 + row)], [row + 1, 258], (), "") for row in range(12)]


def with_lora(model: Any, **arguments: Any) -> Any:
    given = {
        "r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "k_proj", "down_proj"], "rank_pattern": {"k_proj": 2},
        "alpha_pattern": {"k_proj": 9},
        "task_type": "CAUSAL_LM",
    }  # fmt: skip
    return get_peft_model(model, LoraConfig(**{**given, **arguments}))


def inputs_of(model: Any, name: str) -> torch.Tensor:
    """Return the inputs of a layer on all rows: [tokens, in]."""
    seen: list[torch.Tensor] = []
    layer = model.get_base_model().get_submodule(name)
    handle = layer.register_forward_hook(lambda module, given, made: seen.append(given[0][0]))
    with torch.no_grad(), model.disable_adapter():
        for row in ROWS:
            model(input_ids=torch.tensor([row.ids + row.completion_ids]))
    handle.remove()
    return torch.cat(seen)


@pytest.mark.parametrize("init", ["eva", "corda", "lora_ga"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_base_stays_as_it_is(make_model: Callable[..., Any], init: str, family: str) -> None:
    base = make_model(family)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    targets = (
        {"target_modules": ["c_attn"], "fan_in_fan_out": True, "rank_pattern": {}, "alpha_pattern": {}}
        if family == "gpt2"
        else {}
    )
    model = with_lora(base, **targets)
    start_on_data(model, "default", init, {}, ROWS)
    for target in target_layers(model, "default"):
        layer = target.layer.get_base_layer()
        assert torch.equal(layer.weight, before[f"{target.name}.weight"])
        assert not [key for key in vars(layer) if key in ("covariance_matrix", "sample_count", "_peft_loraga_grad")]
        assert not layer._forward_hooks and layer.weight.grad is None
        assert not layer.weight.requires_grad and target.layer.lora_A["default"].weight.requires_grad
        assert target.layer.lora_A["default"].weight.count_nonzero()


def test_eva_spans_the_inputs_and_keeps_the_ranks(make_model: Callable[..., Any]) -> None:
    model = with_lora(make_model())
    start_on_data(model, "default", "eva", {}, ROWS)
    for target in target_layers(model, "default"):
        a = target.layer.lora_A["default"].weight
        rank = 2 if "k_proj" in target.name else 4
        assert target.layer.r["default"] == len(a) == rank
        assert not target.layer.lora_B["default"].weight.count_nonzero()
        inputs = inputs_of(model, target.name)
        values = torch.linalg.svdvals(inputs - inputs.mean(dim=0))
        explained = ((inputs - inputs.mean(dim=0)) @ a.T).norm()
        assert explained > 0.9 * values[:rank].norm()  # PEFT goes through the rows in batches


def test_corda_is_exact_where_the_inputs_are(make_model: Callable[..., Any]) -> None:
    """B A is the part of the weight that matters most to these inputs: better there than the weight's own best."""
    model = with_lora(make_model())
    start_on_data(model, "default", "corda", {}, ROWS)
    for target in target_layers(model, "default"):
        layer, rank = target.layer, target.layer.r["default"]
        start = layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        weight, inputs = layer.get_base_layer().weight, inputs_of(model, target.name)
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        own = (left[:, :rank] * values[:rank]) @ right[:rank]
        assert (inputs @ (weight - start).T).norm() < (inputs @ (weight - own).T).norm()


def test_lora_ga_follows_the_gradient(make_model: Callable[..., Any]) -> None:
    model = with_lora(make_model())
    start_on_data(model, "default", "lora_ga", {}, ROWS)
    target = target_layers(model, "default")[0]
    weight = target.layer.get_base_layer().weight
    weight.requires_grad_(True)
    with model.disable_adapter():
        for row in ROWS:
            ids = torch.tensor([row.ids + row.completion_ids])
            labels = torch.tensor([[-100] * len(row.ids) + row.completion_ids])
            model(input_ids=ids, labels=labels).loss.backward()
    _, _, right = torch.linalg.svd(weight.grad)
    a = target.layer.lora_A["default"].weight
    assert torch.allclose((a @ right[:4].T).norm(dim=1), a.norm(dim=1), atol=1e-3)


@pytest.mark.parametrize(
    ("init", "settings", "rows", "message"),
    [
        ("eva", {}, [], "needs training rows, but there are none"),
        ("eva", {"rho": 2.0}, ROWS, "eva_config.rho cannot be set"),
        ("corda", {"cache_file": "x"}, ROWS, "corda_config.cache_file cannot be set"),
        ("eva", {"tau": 2}, ROWS, 'initialiser "eva": PEFT says: `tau` must be'),
        ("eva", {"tao": 1}, ROWS, 'initialiser "eva": PEFT says: .*tao'),
        (
            "eva",
            {},
            [Prompt([1], [258], (), "")],
            "needs at least as many tokens as its rank 4, but the rows have only 2",
        ),
    ],
)
def test_refusals(
    make_model: Callable[..., Any], init: str, settings: dict[str, Any], rows: list[Prompt], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        start_on_data(with_lora(make_model()), "default", init, settings, rows)
    assert "\n" not in str(caught.value)


def test_eva_that_does_not_converge_fails(make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_data, "MOST_PASSES", 2)
    with pytest.raises(ModelError, match="did not converge after 2 batches"):
        start_on_data(with_lora(make_model()), "default", "eva", {"tau": 1.0}, ROWS)
