"""Initialisers of LoRA matrices by name, one file each; a user's own as `"module:function"`.

An initialiser is given a layer of the base, a rank and a dtype, and returns `{"lora_A": [r, in], "lora_B": [out, r]}`.
It is a pure function of the layer's weights (read them by `sft.initialization.dequantize.dequantize`, which knows
quantised ones). Where its B is not zero, B A is the start in the units of the weights; the function of the model
stays the base's all the same, because the start is taken off again beside the base (see `hold.py`).

Imports no torch: `validate` asks here whether a name is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sft.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import nn


class Initializer(Protocol):
    """Makes the two matrices of one layer."""

    def __call__(self, layer: nn.Module, rank: int, dtype: torch.dtype) -> dict[str, torch.Tensor]: ...


initializer_registry: Registry[Initializer] = Registry(
    "initialiser",
    {
        "pca": "sft.initialization.initializers.pca:pca",
        "pissa": "sft.initialization.initializers.pissa:pissa",
        "umap": "sft.initialization.initializers.umap:umap",
    },
)

# PEFT's own names that start at the base's function without changing its weights.
PEFT_NAMES = ("gaussian", "orthogonal", "mica")
# PEFT's own names that rewrite the base, or look at data first: reloaded on an untouched base, they would be wrong.
PEFT_REFUSED = {
    "olora": 'it rewrites the base\'s weights; "pissa" is near to it',
    "corda": "it needs a pass over data and rewrites the base's weights",
    "eva": "it needs a pass over data",
    "loftq": "it rewrites the base's weights",
    "lora_ga": "it needs gradients on data and rewrites the base's weights",
}


def own_initializer(init: bool | str) -> str | None:
    """The name to look up in our registry, or None where PEFT initialises by itself.

    PEFT's `pissa_niter_N` (an approximation that rewrites the base) means our exact `pissa`.
    """
    if isinstance(init, bool) or init.lower() in PEFT_NAMES:
        return None
    return "pissa" if init.startswith("pissa_niter_") else init


def initializer_problem(init: bool | str) -> str | None:
    """What is wrong with a config's `init_lora_weights`, or None. Imports nothing."""
    name = own_initializer(init)
    if name is None:
        return None
    if name.lower() in PEFT_REFUSED:
        return f'PEFT\'s "{name}" is not supported: {PEFT_REFUSED[name.lower()]}'
    if name in initializer_registry or ":" in name:
        return initializer_registry.problem(name)
    return f"{initializer_registry.problem(name)}; also PEFT's own: true, false, {', '.join(PEFT_NAMES)}"
