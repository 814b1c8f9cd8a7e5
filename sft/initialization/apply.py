"""Puts an initialiser's matrices into the LoRA layers of a model, after PEFT has made them in its default way.

Layers are found through PEFT, so any architecture will do. Knows nothing of how the matrices are made, nor of how a
start that is not zero is taken off again (`hold.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from sft.errors import ModelError
from sft.initialization.cache import Matrices, cached
from sft.initialization.dequantize import dequantize
from sft.initialization.initializers import Initializer
from sft.plugins import INITIALIZERS

if TYPE_CHECKING:
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer


class Place(NamedTuple):
    """One LoRA layer: its name in the model, and PEFT's layer that wraps the base's."""

    name: str
    layer: LoraLayer


def apply_initializer(model: PeftModel, name: str, adapter: str) -> None:
    """Overwrite A and B of every LoRA layer of `adapter` with what the initialiser of that name makes.

    Where its B is not zero, both matrices are divided by the square root of LoRA's scaling (alpha / r, or
    alpha / sqrt(r) with rsLoRA), so that the start, scaling times B A, is what the initialiser returned.

    Raises:
        ModelError: a layer that is not linear, matrices of the wrong shape, or numbers that are not finite.
        UserError: an unknown initialiser.
    """
    initializer: Initializer = INITIALIZERS.resolve(name)
    for place in lora_places(model, adapter):
        made = _make(initializer, name, place, adapter)
        set_matrices(place, adapter, name, made, in_weights_units=True)


def set_matrices(place: Place, adapter: str, name: str, made: Matrices, in_weights_units: bool = False) -> None:
    """Check what an initialiser has made and put it into a layer.

    Args:
        place: the layer.
        adapter: name of its adapter.
        name: of the initialiser, for the message.
        made: A and B.
        in_weights_units: B A is the start itself, without LoRA's scaling.

    Raises:
        ModelError: they are not what the layer needs.
    """
    targets = {key: getattr(place.layer, key)[adapter].weight for key in ("lora_A", "lora_B")}
    if trouble := _trouble(made, {key: tuple(target.shape) for key, target in targets.items()}):
        raise ModelError(f'initialiser "{name}", layer "{place.name}": {trouble}')
    root = place.layer.scaling[adapter] ** 0.5 if in_weights_units and made["lora_B"].count_nonzero() else 1.0
    for key, target in targets.items():
        target.data.copy_(made[key] / root)


def lora_places(model: PeftModel, adapter: str) -> list[Place]:
    """Every LoRA layer of `adapter`, in the model's order.

    Raises:
        ModelError: the adapter also sits on a layer that is not linear (an embedding, say).
    """
    from peft.tuners.lora import LoraLayer

    places = []
    for name, module in model.get_base_model().named_modules():
        if not isinstance(module, LoraLayer) or adapter not in module.r:
            continue
        if not (_is_linear(module.lora_A, adapter) and _is_linear(module.lora_B, adapter)):
            kind = type(module.get_base_layer()).__name__
            raise ModelError(f'layer "{name}" is not linear but {kind}: initialisers know linear layers only')
        places.append(Place(name, module))
    return places


def _is_linear(matrices: nn.ModuleDict, adapter: str) -> bool:
    return adapter in matrices and isinstance(matrices[adapter], nn.Linear)


def _make(initializer: Initializer, name: str, place: Place, adapter: str) -> Matrices:
    """What the initialiser returns for one layer."""
    base, rank = place.layer.get_base_layer(), place.layer.r[adapter]
    dtype = place.layer.lora_A[adapter].weight.dtype
    threads = torch.get_num_threads()
    try:
        if name not in INITIALIZERS:  # a user's own may be random, and changes while it is written
            return initializer(base, rank, dtype)
        weight = dequantize(base)
        return cached(weight, name, rank, dtype, lambda: initializer(_plain(weight), rank, dtype))
    except ModelError as error:
        raise ModelError(f'initialiser "{name}", layer "{place.name}": {error}') from error
    finally:
        torch.set_num_threads(threads)  # numba, behind UMAP, sets those of all who share its OpenMP


def _plain(weight: torch.Tensor) -> nn.Linear:
    """A layer that holds a weight as it was read, so that a quantised one is not read twice."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


def _trouble(made: object, wanted: dict[str, tuple[int, ...]]) -> str | None:
    """What is wrong with an initialiser's result, or None."""
    if not isinstance(made, dict) or set(made) != set(wanted):
        return "it must return a dict of lora_A [r, in] and lora_B [out, r]"
    for key, shape in wanted.items():
        value = made[key]
        if not isinstance(value, torch.Tensor):
            return f"{key} must be a tensor, but is {type(value).__name__}"
        if tuple(value.shape) != shape:
            return f"{key} must have the shape {list(shape)}, but has {list(value.shape)}"
        if not torch.isfinite(value).all():
            return f"{key} holds NaN or infinite numbers"
    return None
