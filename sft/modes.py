"""A model's modes: at rest (no dropout, and quantised weights that stay as they were loaded), and while it is judged.

Knows not what it computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, but for 4-bit layers; every module's own mode is put back afterwards.

    On some CPUs bitsandbytes repacks 4-bit weights in place when they run in evaluation mode, after which they can
    neither be read nor trained on; their layers compute the same in training mode. Bases of `load_model` never repack:
    this is for those that come from elsewhere.
    """
    with _evaluation_mode(model):
        for module in model.modules():
            if type(module).__name__ == "Linear4bit":
                module.training = True
        yield


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode is put back afterwards."""
    with _evaluation_mode(model), torch.inference_mode():
        yield


@contextmanager
def _evaluation_mode(model: Any) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
