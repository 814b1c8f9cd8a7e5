"""torchao's config objects, written in JSON. Imports torchao only when one is made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from sft.errors import ModelError, did_you_mean
from sft.foreign import one_line
from sft.model.source import quiet

KEY = "model.quantization.args.quant_type"
_OBJECTS = re.compile(r"\w+Config|Per[A-Z]\w+")  # the kinds of quantisation, and granularities


def torchao_type(given: Any) -> Any:
    """What `TorchAoConfig` takes as its `quant_type`.

    Args:
        given: the name of a class of `torchao.quantization` ("Int8WeightOnlyConfig", or as older versions wrote it,
            "int8_weight_only"), or {"class": name, and its arguments}; an argument may be such an object too, and
            "torch.float32" is a dtype.

    Raises:
        ModelError: no such class, or one that does not take the arguments.
    """
    if isinstance(given, str):
        given = {"class": given if _OBJECTS.fullmatch(given) else f"{given.title().replace('_', '')}Config"}
    if not isinstance(given, Mapping) or not isinstance(given.get("class"), str):
        raise ModelError(f'{KEY}: give a name ("Int8WeightOnlyConfig") or {{"class": name, and its arguments}}')
    with quiet():
        library = import_module("torchao.quantization")
    name = given["class"]
    known = [each for each in dir(library) if _OBJECTS.fullmatch(each)]
    if name not in known:
        kinds = [each for each in known if each.endswith("Config")]
        raise ModelError(f'{KEY}: torchao has no "{name}"{did_you_mean(name, known)} (it has: {", ".join(kinds)})')
    arguments = {key: _value(value) for key, value in given.items() if key != "class"}
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
