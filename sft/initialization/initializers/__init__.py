"""Initialisers of LoRA matrices by name, one file each; a user's own as `"module:function"`.

An initialiser is given a layer of the base, a rank and a dtype, and returns `{"lora_A": [r, in], "lora_B": [out, r]}`.
It is a pure function of the layer's weights (read them by `sft.initialization.dequantize.dequantize`, which knows
quantised ones). Where its B is not zero, B A is the start in the units of the weights; the function of the model
stays the base's all the same, because the start is taken off again beside the base (see `hold.py`).

PEFT's own names mean PEFT's own code, which is kept off the base's weights (see `peft_own.py`, `on_data.py`).

Imports no torch: `validate` asks here whether a name is known.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Protocol

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
        "umap_fast": "sft.initialization.initializers.umap:umap_fast",
    },
)

Maker = Literal["peft", "copy", "data", "registry"]
PEFT_NAMES: dict[str, Maker] = {
    "gaussian": "peft",  # by PEFT alone: the base's weights stay as they are
    "orthogonal": "peft",
    "mica": "peft",
    "olora": "copy",  # by PEFT on a copy of each weight, which it rewrites
    "loftq": "copy",
    "pissa_niter_N": "copy",
    "eva": "data",  # by PEFT after a pass over the training prompts
    "corda": "data",
    "lora_ga": "data",
}
# Where LoraConfig holds their settings.
SETTINGS = {"loftq": "loftq_config", "eva": "eva_config", "corda": "corda_config", "lora_ga": "lora_ga_config"}


def maker_of(init: bool | str, quantised: bool = False) -> Maker:
    """Who makes the matrices: as `PEFT_NAMES` says, else a function that is registered or a user's."""
    if isinstance(init, bool):
        return "peft"
    if re.fullmatch(r"pissa_niter_\d+", init) or (quantised and init == "orthogonal"):
        return "copy"  # PEFT would give orthogonal's matrices the quantised weight's dtype
    return PEFT_NAMES.get(init.lower(), "registry")


def initializer_problem(init: bool | str) -> str | None:
    """What is wrong with a config's `init_lora_weights`, or None. Imports nothing."""
    if isinstance(init, bool) or (maker_of(init) != "registry" and init != "pissa_niter_N"):
        return None
    if init.startswith("pissa_niter_"):
        return f'"{init}" must end in a whole number of iterations, as in "pissa_niter_16"'
    if init in initializer_registry or ":" in init:
        return initializer_registry.problem(init)
    return f"{initializer_registry.problem(init)}; also PEFT's own: true, false, {', '.join(PEFT_NAMES)}"
