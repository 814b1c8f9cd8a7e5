"""Fixtures: a trained adapter of any kind in its own folder, on a tiny base in another folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sft.config.sections.lora import AdapterSection
from sft.config.sections.model import ModelConfig
from sft.model.adapters import create_adapter
from sft.model.load import load_model
from sft.model.saving import save_adapter

IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])


@pytest.fixture
def logits() -> Callable[[Any], torch.Tensor]:
    """Return a function for the logits of a model on a few ids."""

    @torch.no_grad()
    def of(model: Any) -> torch.Tensor:
        return model.eval()(input_ids=IDS).logits.float()[:, -IDS.shape[1] :]

    return of


@pytest.fixture
def save_base(make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> Callable[..., str]:
    """Return a function that saves a tiny base with its tokenizer and returns its folder."""

    def save(family: str = "llama", **overrides: Any) -> str:
        make_model(family, **overrides).save_pretrained(tmp_path / "base")
        tokenizer.save_pretrained(tmp_path / "base")
        return str(tmp_path / "base")

    return save


@pytest.fixture
def train_adapter(tokenizer: Any, tmp_path: Path) -> Callable[..., tuple[Path, Any]]:
    """Return a function that trains and saves an adapter, and returns its folder and the trained model."""

    def trained(base: ModelConfig, **section: Any) -> tuple[Path, Any]:
        section = section or {"peft_type": "LORA", "r": 4, "target_modules": "all-linear"}
        model = create_adapter(load_model(base), None, AdapterSection(**section), 5)
        model.train()
        optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=2e-2)
        for _ in range(3):
            optimizer.zero_grad()
            model(input_ids=IDS, labels=IDS).loss.backward()
            optimizer.step()
        record = {"run": "r", "labelled_examples": 2, "trained_on": 2, "train_key": "k", "rows": [1, 4]}
        save_adapter(model.eval(), tokenizer, tmp_path / "adapter", base.name, record)
        return tmp_path / "adapter", model

    return trained
