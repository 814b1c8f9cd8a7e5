"""A model at rest: no dropout, and quantised weights that stay as they were loaded. Knows not what it computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, but for 4-bit layers; every module's own mode is put back afterwards.

    On some CPUs bitsandbytes repacks 4-bit weights in place when they run in evaluation mode, after which they can
    neither be read nor trained on; their layers compute the same in training mode. Bases of `load_model` never repack:
    this is for those that come from elsewhere.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    for module, _ in modes:
        if type(module).__name__ == "Linear4bit":
            module.training = True
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
