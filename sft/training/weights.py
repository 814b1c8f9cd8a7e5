"""The trained weights of an adapted model in one file, exact and for every kind of adapter.

PEFT's own files contain only what inference needs. They lack the encoder of p-tuning and the projection of prefix
tuning, so training cannot resume from them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sft.initialization.hold import HELD
from sft.protocols import LanguageModel

FILE = "trained.safetensors"  # within a checkpoint


def save_trained(model: LanguageModel, folder: Path) -> None:
    """Write the trained weights and the held start."""
    save_file({name: value.detach().cpu().contiguous() for name, value in _changed(model).items()}, folder / FILE)


@torch.no_grad()
def load_trained(model: LanguageModel, folder: Path) -> None:
    """Load the weights that `save_trained` wrote into a model of the same kind."""
    saved = load_file(folder / FILE)
    for name, value in _changed(model).items():
        value.copy_(saved[name])


def _changed(model: LanguageModel) -> dict[str, Tensor]:
    return {name: value for name, value in model.named_parameters() if value.requires_grad or f".{HELD}." in name}
