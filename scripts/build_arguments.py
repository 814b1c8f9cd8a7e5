"""Write `sft/config/libraries/library_arguments.json`: the argument names and simple types of the installed libraries.

`validate` uses it to check LoRA, trainer, generation and quantisation arguments without importing torch. Run it after
changing the pinned versions of peft, transformers or trl; a test compares the file with the installed versions.

    python scripts/build_arguments.py
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sft.plugins import METHODS

TARGET = Path(__file__).resolve().parent.parent / "sft" / "config" / "libraries" / "library_arguments.json"
_SIMPLE = {bool: "bool", int: "int", float: "float", str: "str", list: "list", tuple: "list", dict: "dict"}
_NOT_ARGUMENTS = ("self", "args", "kwargs", "transformers_version")
_DOCUMENTED = re.compile(r"^\s+(\w+) \(`(bool|int|float|str)`[,)]", re.MULTILINE)
_POPPED = re.compile(r"kwargs\.(?:pop|get)\(\"(\w+)\"")

Table = dict[str, dict[str, list[str]]]


def build() -> dict[str, Any]:
    """Return the whole table: library versions, then the arguments of each kind."""
    import peft
    import transformers
    import trl
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    versions = {module.__name__: module.__version__ for module in (peft, transformers, trl)}
    configs = {kind.value: config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    return {
        "versions": versions,
        "peft": {kind: _of_dataclass(configs[kind]) for kind in sorted(configs)},
        "trainer": {name: _of_dataclass(_imported(name)) for name in sorted({s.arguments for s in METHODS.values()})},
        "generation": _of_generation(),
        "quantization": _of_quantization(),
    }


def _imported(target: str) -> type:
    module, _, name = target.partition(":")
    cls: type = getattr(importlib.import_module(module), name)
    return cls


def _of_dataclass(cls: type) -> Table:
    return {field.name: describe(_annotation(cls, field)) for field in dataclasses.fields(cls) if field.init}


def _annotation(cls: type, field: dataclasses.Field[Any]) -> Any:
    """Return the type of a field, evaluated in its module, or `Any` if its names exist only for type checkers."""
    if not isinstance(field.type, str):
        return field.type
    owner = next(parent for parent in cls.__mro__ if field.name in vars(parent).get("__annotations__", {}))
    holder = types.SimpleNamespace(__annotations__={"it": field.type})
    try:
        return typing.get_type_hints(holder, dict(vars(sys.modules[owner.__module__])))["it"]
    except NameError:
        return Any


def describe(annotation: Any) -> dict[str, list[str]]:
    """Return `{"types": […], "choices": […]}` of an annotation; empty if it does not restrict JSON values."""
    kinds: list[str] = []
    choices: list[str] = []
    for part in _parts(annotation):
        if typing.get_origin(part) is Literal:
            values = typing.get_args(part)
            choices += [value for value in values if isinstance(value, str)]
            kinds += ["bool" for value in values if isinstance(value, bool)]
        elif isinstance(part, type) and issubclass(part, enum.Enum):
            choices += [str(member.value) for member in part]
        elif part is type(None):
            kinds.append("null")
        elif (plain := typing.get_origin(part) or part) in _SIMPLE:
            kinds.append(_SIMPLE[plain])
        else:
            return {}
    if choices and "str" in kinds:
        kinds.remove("str")  # `SchedulerType | str`: the string must be in the enumeration
    description = {"types": sorted(set(kinds)), "choices": list(dict.fromkeys(choices))}
    return {key: value for key, value in description.items() if value}


def _parts(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(part for member in typing.get_args(annotation) for part in _parts(member))
    return (annotation,)


def _of_generation() -> Table:
    """Return the attributes of GenerationConfig with types from its docstring, as it has no annotations."""
    from transformers import GenerationConfig

    documented = dict(_DOCUMENTED.findall(inspect.getdoc(GenerationConfig) or ""))
    names = [name for name in vars(GenerationConfig()) if not name.startswith("_") and name not in _NOT_ARGUMENTS]
    return {name: {"types": ["null", documented[name]]} if name in documented else {} for name in sorted(names)}


def _of_quantization() -> Mapping[str, Table]:
    import transformers
    from transformers.utils import quantization_config as module

    table = {}
    for name, cls in sorted(inspect.getmembers(module, inspect.isclass)):
        if name.endswith("Config") and hasattr(transformers, name) and cls.__module__ == module.__name__:
            table[name] = _of_signature(cls)
    return table


def _of_signature(cls: type) -> Table:
    """Return the arguments of `__init__`: its own, those popped from its keywords, and those of its parents."""
    table: Table = {}
    for parent in reversed(cls.__mro__[:-1]):
        if "__init__" in vars(parent) and parent.__name__ != "QuantizationConfigMixin":
            code = vars(parent)["__init__"]
            table.update({name: {} for name in _POPPED.findall(inspect.getsource(code))})
            parameters = inspect.signature(code).parameters
            table.update({name: _of_parameter(p) for name, p in parameters.items() if name not in _NOT_ARGUMENTS})
    return table


def _of_parameter(parameter: inspect.Parameter) -> dict[str, list[str]]:
    if parameter.annotation is not inspect.Parameter.empty:
        return describe(parameter.annotation)
    return describe(type(parameter.default)) if parameter.default not in (None, inspect.Parameter.empty) else {}


def text() -> str:
    """Return the content of the file, one argument per line."""
    return _lines(build(), "") + "\n"


def _lines(value: dict[str, Any], indent: str) -> str:
    """Format JSON with one line per innermost object."""
    if not any(isinstance(item, dict) for item in value.values()):
        return json.dumps(value)
    inner = indent + " "
    entries = [
        f"{inner}{json.dumps(key)}: {_lines(item, inner) if isinstance(item, dict) else json.dumps(item)}"
        for key, item in value.items()
    ]
    return "{\n" + ",\n".join(entries) + f"\n{indent}}}"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    print(f"{TARGET} written")
