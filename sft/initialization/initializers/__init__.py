"""Initialisers of LoRA matrices, one file each; a user's own as `"module:function"`. Their names: `sft.plugins`.

An initialiser is given a layer of the base, a rank and a dtype, and returns `{"lora_A": [r, in], "lora_B": [out, r]}`.
It is a pure function of the layer's weights (read them by `sft.initialization.dequantize.dequantize`, which knows
quantised ones). Where its B is not zero, B A is the start in the units of the weights; the function of the model
stays the base's all the same, because the start is taken off again beside the base (see `hold.py`).

PEFT's own names mean PEFT's own code, which is kept off the base's weights (see `peft_own.py`, `on_data.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sft.plugins import Maker, initializer_spec

if TYPE_CHECKING:
    import torch
    from torch import nn


class Initializer(Protocol):
    """Makes the two matrices of one layer."""

    def __call__(self, layer: nn.Module, rank: int, dtype: torch.dtype) -> dict[str, torch.Tensor]: ...


def maker_of(init: bool | str, quantised: bool = False) -> Maker:
    """Who makes the matrices."""
    if quantised and init == "orthogonal":
        return "copy"  # PEFT would give its matrices the quantised weight's dtype
    return initializer_spec(init).maker
