"""Models and tokenizers on disk, and a check that every kind of base must pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sft.config.sections.lora import LoraSection
from sft.config.sections.model import ModelConfig
from sft.model.adapters import create_adapter
from sft.model.load import load_model
from sft.model.saving import save_adapter

IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])


@pytest.fixture
def save_model(
    make_model: Callable[..., Any], make_tokenizer: Callable[..., Any], tmp_path: Path
) -> Callable[..., str]:
    """Save a tiny model with its tokenizer; the folder's path. `save_model("gpt2", seed=1)`."""

    def save(family: str = "llama", **overrides: Any) -> str:
        folder = tmp_path / f"{family}-{len(list(tmp_path.iterdir()))}"
        make_model(family, **overrides).save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        return str(folder)

    return save


@torch.no_grad()
def logits_of(model: Any) -> torch.Tensor:
    """Return the logits of a few tokens, in evaluation mode."""
    return model.eval()(input_ids=IDS).logits.float()


def gradients(model: Any) -> torch.Tensor:
    """Return the gradients of all trainable weights, in one row."""
    model.train()
    model.zero_grad()
    model(input_ids=IDS, labels=IDS).loss.backward()
    return torch.cat([value.grad.flatten() for value in model.parameters() if value.requires_grad])


def few_steps(model: Any) -> list[float]:
    """Return the losses of a few training steps on one row, with an evaluation in between."""
    trainable = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=5e-3)
    losses = []
    for _ in range(6):
        logits_of(model)
        model.train()
        loss = model(input_ids=IDS, labels=IDS).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def changes(model: Any) -> list[torch.Tensor]:
    """Return the change of each layer's weight by the active adapters."""
    from peft.tuners.lora import LoraLayer

    return [
        sum(
            layer.scaling[name] * (layer.lora_B[name].weight @ layer.lora_A[name].weight).detach()
            for name in layer.active_adapters
        )
        for layer in model.modules()
        if isinstance(layer, LoraLayer)
    ]


SLOWER = ("umap", "umap_fast", "gaussian", "orthogonal", "olora", "pissa_niter_4")


@pytest.fixture(params=[True, "pca", "pissa", *(pytest.param(name, marks=pytest.mark.long) for name in SLOWER)])
def init(request: pytest.FixtureRequest) -> bool | str:
    """Each initialiser that uses weights only."""
    made: bool | str = request.param
    return made


@pytest.fixture
def learns_and_reloads(tokenizer: Any, tmp_path: Path) -> Callable[..., None]:
    """`learns_and_reloads(config, init, noise)`: LoRA on a base of that config starts as the base, learns, and does
    the same in plain PEFT on a freshly loaded base, up to `noise` of the largest logit where kernels round."""
    from peft import PeftModel

    def prove(config: ModelConfig, init: bool | str, noise: float = 1e-5) -> None:
        base = logits_of(load_model(config))
        scale = max(1.0, float(base.abs().max()))
        lora = LoraSection(r=4, target_modules="all-linear", init_lora_weights=init)
        model = create_adapter(load_model(config), lora, None, seed=5)
        assert (logits_of(model) - base).abs().max() <= max(noise, 1e-5) * scale
        before = gradients(model)
        logits_of(model)
        assert torch.equal(gradients(model), before)  # evaluation in between leaves the base as it was
        losses = few_steps(model)
        assert losses[-1] < losses[0] - 0.1
        trained = logits_of(model)
        assert (trained - base).abs().max() > 0.05
        with model.disable_adapter():
            assert torch.equal(logits_of(model), base)
        save_adapter(model, tokenizer, tmp_path / "saved", config.name)
        reloaded = PeftModel.from_pretrained(load_model(config), str(tmp_path / "saved"))
        assert len(changes(model)) == 2 * 7  # the head stays as it is
        for again, change in zip(changes(reloaded), changes(model), strict=True):
            assert torch.allclose(again, change, atol=1e-6)
        assert (logits_of(reloaded) - trained).abs().max() <= noise * scale

    return prove
