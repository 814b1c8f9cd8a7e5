"""Run PEFT's initialisations that rewrite a layer's weight on a copy, so that the base's weights do not change.

The copy is a plain linear layer with the dequantised weight, so quantised layers work where PEFT needs full precision.
`hold.py` compensates the initial B A; PEFT would subtract it from the weight.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sft.errors import ModelError
from sft.initialization.apply import TargetLayer, set_matrices, target_layers
from sft.initialization.cache import Matrices, cached
from sft.initialization.dequantize import dequantize
from sft.log import get_logger

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

logger = get_logger(__name__)

LOFTQ = {"loftq_bits": 4, "loftq_iter": 1}  # PEFT's defaults, which it requires explicitly
LAYER = "layer"  # name of a single copy


def start_on_copies(model: PeftModel, adapter: str, init: str, settings: Mapping[str, Any]) -> None:
    """Overwrite A and B of every LoRA layer with PEFT's result on a copy of its weight.

    Args:
        model: the model with the adapter, created with PEFT's defaults.
        adapter: its name.
        init: PEFT's name: olora, loftq, orthogonal, pissa_niter_N.
        settings: LoraConfig's `loftq_config`.

    Raises:
        ModelError: PEFT refuses a layer, or `loftq` has no GPU.
    """
    if init.startswith("pissa_niter_"):
        logger.warning('init_lora_weights "%s" is approximate; "pissa" is exact and about as fast', init)
    if init == "loftq" and not (torch.cuda.is_available() or torch.xpu.is_available()):
        raise ModelError('PEFT computes "loftq" on a GPU only, but none was found')
    for target in target_layers(model, adapter):
        weight = dequantize(target.layer.get_base_layer())
        config = layer_config(target, adapter, init)
        if init == "loftq":
            config.loftq_config = {**LOFTQ, **settings}
        set_matrices(target, adapter, init, _matrices(target, weight, config))


def _matrices(target: TargetLayer, weight: torch.Tensor, config: LoraConfig) -> Matrices:
    init = str(config.init_lora_weights)
    try:
        if init not in ("olora", "loftq"):  # random
            return on_copies(tree({LAYER: weight}), config)[LAYER]
        name = f"peft {version('peft')} {init} {config.loftq_config}"
        return cached(weight, name, config.r, torch.float32, lambda: on_copies(tree({LAYER: weight}), config)[LAYER])
    except (TypeError, ValueError, ImportError) as error:
        raise peft_says(init, error, target.name) from error


def peft_says(init: str, error: Exception, layer: str | None = None) -> ModelError:
    """Return a one-line error for an error of PEFT."""
    where = f', layer "{layer}"' if layer else ""
    text = " ".join(str(error).split()) or type(error).__name__
    return ModelError(f'initialiser "{init}"{where}: PEFT says: {text}')


def layer_config(target: TargetLayer, adapter: str, init: str) -> LoraConfig:
    """Return a config for a single layer, with the rank and scaling that it has in the model."""
    from peft import LoraConfig

    layer = target.layer
    config = LoraConfig(
        r=layer.r[adapter], lora_alpha=layer.lora_alpha[adapter], use_rslora=layer.use_rslora[adapter],
        target_modules=[LAYER],
    )  # fmt: skip
    config.init_lora_weights = init  # set afterwards, since PEFT's constructor would require its settings
    return config


def on_copies(copies: nn.Module, config: LoraConfig) -> dict[str, Matrices]:
    """Return PEFT's A and B for the layers of a tree of copies, by name; PEFT may rewrite the copies.

    Args:
        copies: result of `tree`, with the attributes that PEFT expects on the layers.
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
    """Build a module of linear layers with copies of the weights [out, in], in float32, by dotted names."""
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
