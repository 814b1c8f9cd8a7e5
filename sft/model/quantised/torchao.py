"""Build torchao's config objects from JSON. torchao is imported only when one is built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from sft.errors import ModelError, did_you_mean
from sft.foreign import one_line
from sft.model.source import quiet

KEY = "model.quantization.args.quant_type"
_OBJECTS = re.compile(r"\w+Config|Per[A-Z]\w+")  # quantisation configs and granularities


def torchao_type(value: Any) -> Any:
    """Return the `quant_type` for `TorchAoConfig`.

    Args:
        value: the name of a class of `torchao.quantization` ("Int8WeightOnlyConfig", or as older versions wrote it,
            "int8_weight_only"), or {"class": name, and its arguments}; an argument may be such an object too, and
            "torch.float32" is a dtype.

    Raises:
        ModelError: the class does not exist or does not accept the arguments.
    """
    if isinstance(value, str):
        value = {"class": value if _OBJECTS.fullmatch(value) else f"{value.title().replace('_', '')}Config"}
    if not isinstance(value, Mapping) or not isinstance(value.get("class"), str):
        raise ModelError(f'{KEY}: expected a name ("Int8WeightOnlyConfig") or {{"class": name, and its arguments}}')
    with quiet():
        library = import_module("torchao.quantization")
    name = value["class"]
    known = [each for each in dir(library) if _OBJECTS.fullmatch(each)]
    if name not in known:
        kinds = [each for each in known if each.endswith("Config")]
        raise ModelError(f'{KEY}: torchao has no "{name}"{did_you_mean(name, known)} (it has: {", ".join(kinds)})')
    arguments = {key: _value(argument) for key, argument in value.items() if key != "class"}
    try:
        return getattr(library, name)(**arguments)
    except (TypeError, ValueError, AssertionError, ImportError) as error:
        raise ModelError(f"{KEY}: {name} says: {one_line(error)}") from error


def _value(value: Any) -> Any:
    import torch

    if isinstance(value, Mapping):
        return torchao_type(value)
    if isinstance(value, str) and value.startswith("torch."):
        return getattr(torch, value.removeprefix("torch."), value)
    return value
