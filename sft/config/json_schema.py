"""JSON Schema of a config, for editors: the sections, with the libraries' argument names filled in.

`etc/schema.json` holds it; a test keeps that file current. Knows nothing of the values' meaning beyond their types.
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
    """The JSON Schema (draft 2020-12) of one experiment's config."""
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
    """Give `node` the arguments as properties, beside its own, and refuse others."""
    own = node.get("properties", {})
    node["properties"] = {**{name: _property(one, description) for name, one in arguments.items()}, **own}
    node["additionalProperties"] = False


def _property(argument: Argument, description: str) -> Schema:
    """The schema of one argument; of anything, where the table says nothing of it."""
    parts: list[Schema] = []
    if argument.choices:
        parts.append({"enum": list(argument.choices)})
    if argument.types:
        names = [_TYPES[name] for name in argument.types]
        parts.append({"type": names[0] if len(names) == 1 else names})
    return {**(parts[0] if len(parts) == 1 else {"anyOf": parts} if parts else {}), "description": description}


def _when(key: str, value: str, names: Iterable[str]) -> Schema:
    """Where `key` is `value`, only these names are possible beside it."""
    return {
        "if": {"properties": {key: {"const": value}}, "required": [key]},
        "then": {"propertyNames": {"enum": sorted({key, *names})}},
    }


def _fill_trainer(node: Schema) -> None:
    """Current names, and old ones marked as deprecated."""
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
