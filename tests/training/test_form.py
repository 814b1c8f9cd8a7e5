"""The form of batches: chosen by the model and the config, logged, and tried before training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sft.config.sections.lora import AdapterSection, LoraSection
from sft.config.sections.training import TrainingConfig
from sft.errors import ConfigError
from sft.model.adapters import create_adapter
from sft.model.trial import TOLERANCE
from sft.training import TrainingRow, TrainRequest, train
from sft.training.arguments import sft_config
from sft.training.collators import CompletionCollator, PartsCollator
from sft.training.form import choose_collator

PROMPT = list(range(20, 60))
ROWS = [TrainingRow([*PROMPT, *range(index, 2 * index + 3)], [3 + index % 2, 4, 258]) for index in range(9)]
STILL = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
Choose = Callable[..., Any]


@pytest.fixture
def choose(tokenizer: Any, tmp_path: Path) -> Choose:
    """Return the collator of a model with an adapter: `choose(model, lora={…}, training={…}, **trainer arguments)`."""

    def run(model: Any, lora: Any = None, training: Any = None, **arguments: Any) -> Any:
        section = LoraSection(**{"r": 4, "target_modules": "all-linear", **(lora or {})})
        config = TrainingConfig(trainer_args=arguments, **(training or {}))
        request = TrainRequest(create_adapter(model, section, None, 1), tokenizer, ROWS, config, tmp_path, 1)
        return choose_collator(request, sft_config(request))

    return run


def shares(collator: Any) -> bool:
    return isinstance(collator, PartsCollator) and collator.masks is not None


@pytest.mark.parametrize(
    ("family", "shape"),
    [
        ("llama", {}),
        ("qwen2", {}),
        ("gpt2", STILL),
        ("gemma", {}),
        ("mistral", {"sliding_window": 16}),
        ("gemma3_text", {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}),
        ("llama", {"attn_implementation": "eager"}),
    ],
)
def test_rows_share_their_prefix(
    make_model: Callable[..., Any], choose: Choose, caplog: pytest.LogCaptureFixture, family: str, shape: dict[str, Any]
) -> None:
    caplog.set_level("INFO", logger="sft")
    assert shares(choose(make_model(family, **shape)))
    assert "Prefix sharing is on" in caplog.text


def test_a_window_that_the_model_ignores_is_left_out(
    make_model: Callable[..., Any], choose: Choose, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="sft")
    collator = choose(make_model(sliding_window=16, initializer_range=0.3))
    assert shares(collator)
    assert "without the sliding window of the model's config: with it, its log-probabilities differ" in caplog.text
    assert {window for _, window in collator.masks.windows} == {None}


def test_in_half_precision_rounding_is_distinguished_from_a_mismatch(
    make_model: Callable[..., Any], choose: Choose
) -> None:
    """Logits differ between the forms by about as much as from those in full precision."""
    exact, coarse = (make_model(num_hidden_layers=6) for _ in range(2))
    coarse = coarse.to(torch.bfloat16)
    assert shares(choose(coarse))
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        noise = (coarse(ids).logits.float() - exact(ids).logits).abs().max() / exact(ids).logits.abs().max()
    assert TOLERANCE[torch.float32] < float(noise) < TOLERANCE[torch.bfloat16]


@pytest.mark.parametrize(
    ("model", "given", "why"),
    [
        (("llama", {}), {"lora": {"lora_dropout": 0.1}}, "dropout (0.1 in"),
        (("gpt2", {}), {}, "dropout (0.1 in"),
        (("llama", {"attention_dropout": 0.1}), {}, "dropout (0.1 by attention_dropout)"),
        (("bloom", {}), {"lora": {"target_modules": ["query_key_value"]}}, "takes no custom attention mask"),
        (("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
                    "max_position_embeddings": 32}), {}, "position encoding changes"),
        (("opt", {"word_embed_proj_dim": 32, "ffn_dim": 64}), {}, "dropout (0.1 by"),
        (("llama", {}), {"neftune_noise_alpha": 5.0}, "noise on the embeddings"),
        (("llama", {}), {"label_smoothing_factor": 0.1}, "the loss is not the default one"),
    ],
)  # fmt: skip
def test_the_reason_against_prefix_sharing_is_logged(
    make_model: Callable[..., Any],
    choose: Choose,
    caplog: pytest.LogCaptureFixture,
    model: tuple[str, dict[str, Any]],
    given: dict[str, Any],
    why: str,
) -> None:
    caplog.set_level("INFO", logger="sft")
    family, shape = model
    if family == "bloom":
        shape = {"n_layer": 2, "n_head": 4}
    collator = choose(make_model(family, **shape), **given)
    assert not shares(collator) and why in caplog.text
    assert isinstance(collator, CompletionCollator) == ("default one" in why)
    if "dropout" in why:
        assert shares(choose(make_model(family, **shape), training={"shared_prefix": True}, **given))
        return
    with pytest.raises(ConfigError, match=r"training.shared_prefix: prefix sharing is not possible"):
        choose(make_model(family, **shape), training={"shared_prefix": True}, **given)


def test_a_model_with_its_own_positions_is_detected(
    make_model: Callable[..., Any], choose: Choose, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model()
    forward = model.model.forward
    # as an architecture that computes the positions itself
    model.model.forward = lambda *args, **given: forward(*args, **{**given, "position_ids": None})
    caplog.set_level("INFO", logger="sft")
    assert not shares(choose(model))
    assert "its log-probabilities differ by up to" in caplog.text


def test_virtual_tokens_come_before_each_row(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    section = AdapterSection(peft_type="PROMPT_TUNING", num_virtual_tokens=3)
    model = create_adapter(make_model(), None, section, 1)
    caplog.set_level("INFO", logger="sft")
    config = TrainingConfig(trainer_args={"num_train_epochs": 1})
    train(TrainRequest(model, tokenizer, ROWS, config, tmp_path, 1))
    assert "virtual tokens" in caplog.text


@pytest.mark.parametrize("arguments", [{}, {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 3}])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_losses_and_weights_are_the_same_in_either_form(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, arguments: dict[str, Any], checkpointing: bool
) -> None:
    curves, weights = [], []
    for shared, most in ((None, None), (False, None), (None, 60), (False, 60)):
        model = create_adapter(make_model(), LoraSection(r=4, target_modules="all-linear"), None, 1)
        given = {"num_train_epochs": 2, "learning_rate": 1e-2, "activation_checkpointing": checkpointing, **arguments}
        config = TrainingConfig(trainer_args=given, shared_prefix=shared, max_batch_tokens=most)
        fed: list[tuple[int, ...]] = []
        hook = model.get_input_embeddings().register_forward_hook(
            lambda _, args, __, fed=fed: fed.append(tuple(args[0].shape))
        )
        curves.append(train(TrainRequest(model, tokenizer, ROWS, config, tmp_path, 1)).loss_history)
        hook.remove()
        assert most is None or max(rows * tokens for rows, tokens in fed) <= 60
        trained_on = [rows for rows, tokens in fed if tokens > 20]  # the trial before training is shorter
        assert (max(trained_on) == 1) == (shared is None or most == 60)
        weights.append({name: value for name, value in model.named_parameters() if value.requires_grad})
    for curve in curves[1:]:
        for point, expected in zip(curve, curves[0], strict=True):
            assert point["loss"] == pytest.approx(expected["loss"], rel=1e-4)
            assert point["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-3)
    for values in weights[1:]:
        for name, value in values.items():
            # AdamW divides small gradients by themselves
            assert torch.allclose(value, weights[0][name], atol=2e-3), name
