"""What a training changes of an adapted model, in one file: every number as it is, whatever kind of adapter it is.

PEFT's own files hold what is needed to use an adapter, which of some kinds is less (the encoder of p-tuning, the
projection of prefix tuning), and cannot be trained on from there.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sft.initialization.hold import HELD

FILE = "trained.safetensors"  # within a checkpoint


def save_trained(model: nn.Module, folder: Path) -> None:
    """Write what is trained, and the start that is held beside it."""
    save_file({name: value.detach().cpu().contiguous() for name, value in _changed(model).items()}, folder / FILE)


@torch.no_grad()
def load_trained(model: nn.Module, folder: Path) -> None:
    """Put back what `save_trained` wrote, into a model of the same kind."""
    held = load_file(folder / FILE)
    for name, value in _changed(model).items():
        value.copy_(held[name])


def _changed(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.named_parameters() if value.requires_grad or f".{HELD}." in name}
