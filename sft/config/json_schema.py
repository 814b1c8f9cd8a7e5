"""JSON Schema of a config, for editors: the sections, and the names of the libraries' arguments.

`etc/schema.json` holds it; a test keeps that file current. Knows only the types of values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sft.config.libraries.library import (
    Argument,
    Arguments,
    generation_arguments,
    peft_arguments,
    peft_types,
    quantization_arguments,
    quantization_classes,
    trainer_arguments,
)
from sft.config.libraries.renamed import ELSEWHERE, RENAMED, RESHAPED
from sft.config.sections.schema import ExperimentConfig

_TYPES = {
    "bool": "boolean",
    "int": "integer",
    "float": "number",
    "str": "string",
    "list": "array",
    "dict": "object",
    "null": "null",
}
Schema = dict[str, Any]


def json_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of one experiment's config."""
    schema: Schema = ExperimentConfig.model_json_schema(by_alias=True)
    parts: dict[str, Schema] = schema["$defs"]
    _close(parts["LoraSection"], peft_arguments("LORA"), "Argument of peft's LoraConfig.")
    parts["AdapterSection"]["properties"]["peft_type"]["enum"] = list(peft_types())
    parts["AdapterSection"]["allOf"] = [_when("peft_type", kind, peft_arguments(kind)) for kind in peft_types()]
    _fill_trainer(parts["TrainingConfig"]["properties"]["trainer_args"])
    generation = parts["InferenceConfig"]["properties"]["generation_args"]
    _close(generation, generation_arguments(), "Argument of generate.")
    _fill_quantization(parts["QuantizationConfig"])
    schema["title"] = "An experiment of sft"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _close(node: Schema, arguments: Arguments, description: str) -> None:
    """Add the arguments to the properties of `node`, and refuse all others."""
    own = node.get("properties", {})
    node["properties"] = {**{name: _property(argument, description) for name, argument in arguments.items()}, **own}
    node["additionalProperties"] = False


def _property(argument: Argument, description: str) -> Schema:
    """Return the schema of one argument; it allows anything if the table has no types for it."""
    parts: list[Schema] = []
    if argument.choices:
        parts.append({"enum": list(argument.choices)})
    if argument.types:
        names = [_TYPES[name] for name in argument.types]
        parts.append({"type": names[0] if len(names) == 1 else names})
    return {**(parts[0] if len(parts) == 1 else {"anyOf": parts} if parts else {}), "description": description}


def _when(key: str, value: str, names: Iterable[str]) -> Schema:
    """Return the condition that only these names may accompany `key` if it is `value`."""
    return {
        "if": {"properties": {key: {"const": value}}, "required": [key]},
        "then": {"propertyNames": {"enum": sorted({key, *names})}},
    }


def _fill_trainer(node: Schema) -> None:
    """Add the current names, and the old ones marked as deprecated."""
    current = {name: argument for name, argument in trainer_arguments().items() if name not in ELSEWHERE}
    _close(node, current, "Argument of TRL's SFTConfig.")
    old: Mapping[str, str] = {**RENAMED, **RESHAPED}
    node["properties"] |= {
        name: {"deprecated": True, "description": f"Older name; now {new}."} for name, new in old.items()
    }


def _fill_quantization(node: Schema) -> None:
    node["properties"]["config_class"]["enum"] = list(quantization_classes())
    node["allOf"] = [
        {
            "if": {"properties": {"config_class": {"const": name}}, "required": ["config_class"]},
            "then": {"properties": {"args": {"propertyNames": {"enum": sorted(arguments)}}}},
        }
        for name in quantization_classes()
        if (arguments := quantization_arguments(name))
    ]
