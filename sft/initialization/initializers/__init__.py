"""Initialisers of LoRA matrices, one file each; a custom one is `"module:function"`. Their names are in `sft.plugins`.

An initialiser takes a layer of the base, a rank and a dtype, and returns `{"lora_A": [r, in], "lora_B": [out, r]}`. It
is a pure function of the layer's weights (read them with `sft.initialization.dequantize.dequantize`, which supports
quantised ones). If its B is not zero, B A is in the units of the weights. The model's function stays that of the base,
since `hold.py` compensates B A.

PEFT's names run PEFT's code, without changing the base's weights (see `peft_own.py`, `on_data.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sft.plugins import Maker, initializer_spec

if TYPE_CHECKING:
    import torch
    from torch import nn


class Initializer(Protocol):
    """A function that creates the two matrices of one layer."""

    def __call__(self, layer: nn.Module, rank: int, dtype: torch.dtype) -> dict[str, torch.Tensor]: ...


def maker_of(init: bool | str, quantised: bool = False) -> Maker:
    """Return which part of the code creates the matrices."""
    if quantised and init == "orthogonal":
        return "copy"  # PEFT would use the quantised weight's dtype
    return initializer_spec(init).maker
