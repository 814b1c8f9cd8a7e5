"""Padded, split and packed batches: their losses and gradients equal those of single rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy

from sft.training.collators import IGNORED, CompletionCollator, Masks, PartsCollator
from sft.training.parts import Costs, Splitter

TOGETHER = Costs(1e9, 0.0)  # always one part


def feature(prompt: list[int], answer: list[int]) -> dict[str, list[int]]:
    return {"input_ids": prompt + answer, "labels": [IGNORED] * len(prompt) + answer}


def make_features(shared: int, rows: int = 5) -> list[dict[str, list[int]]]:
    prefix = [11 + index * index % 83 for index in range(shared)]
    return [
        feature(prefix + [100 + row + index for index in range(1 + 3 * row)], list(range(200, 201 + row % 3)))
        for row in range(rows)
    ]


def test_it_pads_and_masks() -> None:
    batch = CompletionCollator(7)([feature([1, 2], [3]), feature([4], [5])])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 5, 7]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 3], [IGNORED, 5, IGNORED]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_packed() -> None:
    features = [feature([1, 2, 3], [4, 5]), feature([1, 2, 6], [7])]
    batch = PartsCollator(Splitter(TOGETHER, shares=True), Masks(torch.float32), 0)(features)
    (part,) = batch["parts"]
    assert part["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6, 7]]
    assert part["position_ids"].tolist() == [[0, 1, 2, 3, 4, 2, 3]]
    assert part["logits_to_keep"].tolist() == [2, 3, 5]
    assert part["targets"].tolist() == batch["labels"].tolist() == batch["shift_labels"].tolist() == [4, 5, 7]
    assert (part["attention_mask"][0, 0] == 0).int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1, 1],
    ]


def test_windows_mask_distant_tokens() -> None:
    masks = Masks(torch.float32, (("full_attention", None), ("sliding_attention", 2)))
    made = masks.of(torch.tensor([-1, -1, 0, 1]), torch.tensor([0, 1, 2, 2]))
    assert isinstance(made, dict)
    assert (made["full_attention"][0, 0] == 0).int().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
        [1, 1, 0, 1],
    ]
    assert (made["sliding_attention"][0, 0] == 0).int().tolist() == [
        [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1],
    ]  # fmt: skip


def adapted(model: Any, checkpointing: bool) -> Any:
    kinds = (
        {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}
        if model.config.model_type == "gpt2"
        else {"target_modules": "all-linear"}
    )
    made = get_peft_model(model, LoraConfig(r=4, task_type="CAUSAL_LM", **kinds)).train()
    torch.manual_seed(5)
    for name, value in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1)
    if checkpointing:
        made.enable_input_require_grads()
        model.activation_checkpointing_enable({"use_reentrant": False})
    return made


def loss_and_gradients(model: Any, losses: list[Tensor], count: int) -> tuple[float, dict[str, Tensor]]:
    """Return the mean loss and every gradient."""
    model.zero_grad()
    loss = torch.stack(losses).sum() / count
    loss.backward()
    return loss.item(), {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def of_parts(model: Any, batch: dict[str, Any]) -> tuple[float, dict[str, Tensor]]:
    losses = []
    for part in batch["parts"]:
        targets = part.pop("targets")
        losses.append(cross_entropy(model(**part, use_cache=False).logits.flatten(0, -2), targets, reduction="sum"))
    return loss_and_gradients(model, losses, len(batch["labels"]))


def of_padded(model: Any, features: list[dict[str, list[int]]]) -> tuple[float, dict[str, Tensor]]:
    """The reference: the model's own loss of a padded batch, with every position through the head."""
    batch = CompletionCollator(0)(features)
    count = int((batch["labels"] != IGNORED).sum())
    return loss_and_gradients(model, [model(**batch, use_cache=False).loss * count], count)


def assert_equal(actual: tuple[float, dict[str, Tensor]], expected: tuple[float, dict[str, Tensor]]) -> None:
    assert actual[0] == pytest.approx(expected[0], abs=1e-5)
    assert actual[1].keys() == expected[1].keys() and actual[1]
    for name, gradient in expected[1].items():
        assert float((actual[1][name] - gradient).norm() / gradient.norm()) < 1e-4, name


STILL = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
FAMILIES = {"llama": {}, "qwen2": {}, "gpt2": STILL, "gemma": {}, "mistral": {}}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("shared", "attention", "checkpointing"),
    [(5, "sdpa", False), (40, "sdpa", False), (160, "sdpa", False), (40, "eager", False), (40, "sdpa", True)],
)
def test_loss_and_gradients_are_those_of_the_padded_batch(
    make_model: Callable[..., Any], family: str, shared: int, attention: str, checkpointing: bool
) -> None:
    """Prefix lengths as of 0, 2 and 8 in-context examples."""
    model = adapted(make_model(family, attn_implementation=attention, **FAMILIES[family]), checkpointing)
    features = make_features(shared)
    expected = of_padded(model, features)
    for splitter in (Splitter(TOGETHER, shares=True), Splitter(Costs(0.0, 1.0), shares=True, most_tokens=shared + 30)):
        batch = PartsCollator(splitter, Masks(torch.float32), 0)(features)
        assert_equal(of_parts(model, batch), expected)
    padded = PartsCollator(Splitter(Costs(0.0, 0.0), shares=False), None, 0)(features)
    assert len(padded["parts"]) == len(features)  # each of another length
    assert_equal(of_parts(model, padded), expected)


@pytest.mark.parametrize(
    ("family", "shape"),
    [
        ("mistral", {"sliding_window": 16}),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 16, "layer_types": ["full_attention", "sliding_attention"]},
        ),
        ("gemma3_text", {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}),
    ],
)
def test_windows_shorter_than_the_rows(make_model: Callable[..., Any], family: str, shape: dict[str, Any]) -> None:
    model = adapted(make_model(family, **shape), False)
    features = make_features(40)
    kinds = {"mistral": (("sliding_attention", 16),)}.get(family, (("full_attention", None), ("sliding_attention", 16)))
    expected = of_padded(model, features)
    batch = PartsCollator(Splitter(TOGETHER, shares=True), Masks(torch.float32, kinds), 0)(features)
    assert_equal(of_parts(model, batch), expected)
    wide = PartsCollator(Splitter(TOGETHER, shares=True), Masks(torch.float32), 0)(features)
    assert abs(of_parts(model, wide)[0] - expected[0]) > 1e-4  # without its window the loss differs
