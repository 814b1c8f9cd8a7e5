"""A model's modes: at rest (no dropout, quantised weights stay as loaded), and during evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sft.protocols import LanguageModel


@contextmanager
def at_rest(model: LanguageModel) -> Iterator[None]:
    """Set evaluation mode in the block, except for 4-bit layers; restore every module's mode afterwards.

    On some CPUs bitsandbytes repacks 4-bit weights in place when they run in evaluation mode; afterwards they can
    neither be read nor trained. Their layers compute the same in training mode. Bases of `load_model` never repack:
    this is for models from elsewhere.
    """
    with _evaluation_mode(model):
        for module in model.modules():
            if type(module).__name__ == "Linear4bit":
                module.training = True
        yield


@contextmanager
def evaluating(model: LanguageModel) -> Iterator[None]:
    """Set evaluation mode without gradients in the block; restore every module's mode afterwards."""
    with _evaluation_mode(model), torch.inference_mode():
        yield


@contextmanager
def _evaluation_mode(model: LanguageModel) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
