"""PEFT's own initialisations that rewrite a layer's weight, run on a copy of it: the base's weights stay as they are.

The copy is a plain linear layer that holds the weight as numbers, so quantised layers will do where PEFT asks for
full precision. A and B are read off it; the start is taken off beside the base (see `hold.py`), not off the weight.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sft.errors import ModelError
from sft.initialization.apply import Place, lora_places, set_matrices
from sft.initialization.cache import Matrices, cached
from sft.initialization.dequantize import dequantize
from sft.log import get_logger

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

logger = get_logger(__name__)

LOFTQ = {"loftq_bits": 4, "loftq_iter": 1}  # PEFT's defaults; it asks for them to be given
LAYER = "layer"  # name of a copy by itself


def start_on_copies(model: PeftModel, adapter: str, init: str, settings: Mapping[str, Any]) -> None:
    """Overwrite A and B of every LoRA layer with what PEFT makes of a copy of its weight.

    Args:
        model: with the adapter on it, made in PEFT's default way.
        adapter: its name.
        init: PEFT's name: olora, loftq, orthogonal, pissa_niter_N.
        settings: what stands in LoraConfig's `loftq_config`.

    Raises:
        ModelError: what PEFT refuses, with the layer; `loftq` without a GPU.
    """
    if init.startswith("pissa_niter_"):
        logger.warning('init_lora_weights "%s" approximates; "pissa" is exact and about as quick', init)
    if init == "loftq" and not (torch.cuda.is_available() or torch.xpu.is_available()):
        raise ModelError('PEFT computes "loftq" on a GPU only, and there is none here')
    for place in lora_places(model, adapter):
        weight = dequantize(place.layer.get_base_layer())
        config = layer_config(place, adapter, init)
        if init == "loftq":
            config.loftq_config = {**LOFTQ, **settings}
        set_matrices(place, adapter, init, _matrices(place, weight, config))


def _matrices(place: Place, weight: torch.Tensor, config: LoraConfig) -> Matrices:
    init = str(config.init_lora_weights)
    try:
        if init not in ("olora", "loftq"):  # random
            return on_copies(tree({LAYER: weight}), config)[LAYER]
        name = f"peft {version('peft')} {init} {config.loftq_config}"
        return cached(weight, name, config.r, torch.float32, lambda: on_copies(tree({LAYER: weight}), config)[LAYER])
    except (TypeError, ValueError, ImportError) as error:
        raise peft_says(init, error, place.name) from error


def peft_says(init: str, error: Exception, layer: str | None = None) -> ModelError:
    """PEFT's refusal as one line."""
    where = f', layer "{layer}"' if layer else ""
    text = " ".join(str(error).split()) or type(error).__name__
    return ModelError(f'initialiser "{init}"{where}: PEFT says: {text}')


def layer_config(place: Place, adapter: str, init: str) -> LoraConfig:
    """The config of one layer by itself, with the rank and the scaling that it has in the model."""
    from peft import LoraConfig

    layer = place.layer
    config = LoraConfig(
        r=layer.r[adapter], lora_alpha=layer.lora_alpha[adapter], use_rslora=layer.use_rslora[adapter],
        target_modules=[LAYER],
    )  # fmt: skip
    config.init_lora_weights = init  # set afterwards: given at once, PEFT asks for its settings too
    return config


def on_copies(copies: nn.Module, config: LoraConfig) -> dict[str, Matrices]:
    """A and B that PEFT makes for the layers of a tree of copies, by name; it may rewrite their weights.

    Args:
        copies: of `tree`, with what PEFT expects to find on the layers.
        config: its `target_modules` are the layers' names.
    """
    from peft import inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        injected = inject_adapter_in_model(config, copies)
    layers = {name: module for name, module in injected.named_modules() if isinstance(module, LoraLayer)}
    return {
        name: {key: getattr(layer, key)["default"].weight.detach() for key in ("lora_A", "lora_B")}
        for name, layer in layers.items()
    }


def tree(weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """Linear layers that hold copies of the weights [out, in], in float32, under their dotted names."""
    root = nn.Module()
    for name, weight in weights.items():
        parent, (*path, last) = root, name.split(".")
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        layer.weight = nn.Parameter(weight.detach().to(torch.float32, copy=True), requires_grad=False)
        parent.add_module(last, layer)
    return root
