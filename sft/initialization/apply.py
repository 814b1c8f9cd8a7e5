"""Copy an initialiser's matrices into the LoRA layers of a model, after PEFT has created them with its defaults.

Layers are found through PEFT, so any architecture works. `hold.py` compensates an initial B A that is not zero.
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


class TargetLayer(NamedTuple):
    """A LoRA layer: its name in the model, and PEFT's layer around the layer of the base."""

    name: str
    layer: LoraLayer


def apply_initializer(model: PeftModel, name: str, adapter: str) -> None:
    """Overwrite A and B of every LoRA layer of `adapter` with the matrices of an initialiser.

    If its B is not zero, both matrices are divided by the square root of LoRA's scaling (alpha / r, or
    alpha / sqrt(r) with rsLoRA), so that scaling times B A equals the B A of the initialiser.

    Raises:
        ModelError: a layer is not linear, or a matrix has the wrong shape or values that are not finite.
        UserError: the initialiser is unknown.
    """
    initializer: Initializer = INITIALIZERS.resolve(name)
    for target in target_layers(model, adapter):
        made = _make(initializer, name, target, adapter)
        set_matrices(target, adapter, name, made, in_weights_units=True)


def set_matrices(target: TargetLayer, adapter: str, name: str, made: Matrices, in_weights_units: bool = False) -> None:
    """Check the matrices of an initialiser and copy them into a layer.

    Args:
        target: the layer.
        adapter: name of its adapter.
        name: name of the initialiser, for the message.
        made: A and B.
        in_weights_units: whether B A is in the units of the weights, without LoRA's scaling.

    Raises:
        ModelError: the matrices do not fit the layer.
    """
    weights = {key: getattr(target.layer, key)[adapter].weight for key in ("lora_A", "lora_B")}
    if problem := _problem(made, {key: tuple(weight.shape) for key, weight in weights.items()}):
        raise ModelError(f'initialiser "{name}", layer "{target.name}": {problem}')
    root = target.layer.scaling[adapter] ** 0.5 if in_weights_units and made["lora_B"].count_nonzero() else 1.0
    for key, weight in weights.items():
        weight.data.copy_(made[key] / root)


def target_layers(model: PeftModel, adapter: str) -> list[TargetLayer]:
    """Return every LoRA layer of `adapter`, in the model's order.

    Raises:
        ModelError: the adapter is also on a layer that is not linear, such as an embedding.
    """
    from peft.tuners.lora import LoraLayer

    targets = []
    for name, module in model.get_base_model().named_modules():
        if not isinstance(module, LoraLayer) or adapter not in module.r:
            continue
        if not (_is_linear(module.lora_A, adapter) and _is_linear(module.lora_B, adapter)):
            kind = type(module.get_base_layer()).__name__
            raise ModelError(f'layer "{name}" is not linear but {kind}; initialisers support linear layers only')
        targets.append(TargetLayer(name, module))
    return targets


def _is_linear(matrices: nn.ModuleDict, adapter: str) -> bool:
    return adapter in matrices and isinstance(matrices[adapter], nn.Linear)


def _make(initializer: Initializer, name: str, target: TargetLayer, adapter: str) -> Matrices:
    """Return the initialiser's matrices for one layer."""
    base, rank = target.layer.get_base_layer(), target.layer.r[adapter]
    dtype = target.layer.lora_A[adapter].weight.dtype
    threads = torch.get_num_threads()
    try:
        if name not in INITIALIZERS:  # a custom one may be random, and its code may change
            return initializer(base, rank, dtype)
        weight = dequantize(base)
        return cached(weight, name, rank, dtype, lambda: initializer(_plain(weight), rank, dtype))
    except ModelError as error:
        raise ModelError(f'initialiser "{name}", layer "{target.name}": {error}') from error
    finally:
        torch.set_num_threads(threads)  # numba (in UMAP) changes the threads of the shared OpenMP


def _plain(weight: torch.Tensor) -> nn.Linear:
    """Return a layer with a dequantised weight, so that it is not dequantised twice."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


def _problem(made: object, shapes: dict[str, tuple[int, ...]]) -> str | None:
    """Return the problem with an initialiser's result, or None."""
    if not isinstance(made, dict) or set(made) != set(shapes):
        return "expected a dict of lora_A [r, in] and lora_B [out, r]"
    for key, shape in shapes.items():
        value = made[key]
        if not isinstance(value, torch.Tensor):
            return f"{key}: expected a tensor, got {type(value).__name__}"
        if tuple(value.shape) != shape:
            return f"{key}: expected shape {list(shape)}, got {list(value.shape)}"
        if not torch.isfinite(value).all():
            return f"{key} contains NaN or infinite values"
    return None
