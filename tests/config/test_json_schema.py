"""The JSON Schema: current on disk, valid itself, and consistent with the loader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sft.config.json_schema import json_schema
from sft.config.reading.load import parse_config
from sft.errors import ConfigError


def is_valid(data: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft202012Validator(json_schema()).is_valid(data))


def test_the_shipped_schema_is_current(repository: Path) -> None:
    shipped = json.loads((repository / "etc" / "schema.json").read_text(encoding="utf-8"))
    assert shipped == json_schema(), "run: python -m sft.cli schema > etc/schema.json"


def test_it_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_every_own_key_has_a_description() -> None:
    def undescribed(node: dict[str, Any], section: str) -> Iterator[str]:
        for name, child in node.get("properties", {}).items():
            if "description" not in child:
                yield f"{section}.{name}"

    schema = json_schema()
    parts = {"": schema, **schema["$defs"]}
    assert [key for section, part in parts.items() for key in undescribed(part, section)] == []


def test_it_completes_the_libraries_arguments() -> None:
    parts = json_schema()["$defs"]
    assert {"r", "lora_alpha", "target_modules", "init_lora_weights"} <= set(parts["LoraSection"]["properties"])
    trainer = parts["TrainingConfig"]["properties"]["trainer_args"]["properties"]
    assert "learning_rate" in trainer
    assert trainer["evaluation_strategy"]["deprecated"]
    assert "max_new_tokens" in parts["InferenceConfig"]["properties"]["generation_args"]["properties"]
    assert "PROMPT_TUNING" in parts["AdapterSection"]["properties"]["peft_type"]["enum"]


@pytest.mark.parametrize(
    "change",
    [
        {"$schema": "../schema.json", "name": "mine", "description": "text", "seed": 3, "seeds": {"init": 4}},
        {"lora": {"r": 8, "init_lora_weights": "my_module:mine", "target_modules": ["q"]}},
        {"lora": None, "adapter": {"peft_type": "IA3", "target_modules": "all-linear"}},
        {"training": {"trainer_args": {"max_seq_length": 5, "optim": "adafactor", "learning_rate": 1}}},
        {
            "model": {
                "name": "a/b",
                "quantization": {"config_class": "BitsAndBytesConfig", "args": {"load_in_8bit": True}},
            }
        },
        {"inference": {"batch_size": 8, "generation_args": {"do_sample": False}}},
    ],
)
def test_both_accept(change: dict[str, Any], data: dict[str, Any]) -> None:
    data |= change
    parse_config(data, "mine.json", Path())
    assert is_valid(data)


@pytest.mark.parametrize(
    "change",
    [
        {"datset": {}},
        {"seed": -1},
        {"model": {}},
        {"lora": {"rr": 8}},
        {"lora": {"lora_alpha": "16"}},
        {"lora": None, "adapter": {"peft_type": "IA3", "r": 8}},
        {"lora": None, "adapter": {"peft_type": "IA33"}},
        {"training": {"trainer_args": {"learning_rte": 1}}},
        {"training": {"trainer_args": {"optim": "adamw_torc"}}},
        {"model": {"name": "a/b", "quantization": {"config_class": "Bits"}}},
        {"model": {"name": "a/b", "quantization": {"config_class": "BitsAndBytesConfig", "args": {"load": True}}}},
        {"inference": {"batch_size": 0}},
        {"inference": {"generation_args": {"max_new_token": 3}}},
    ],
)
def test_both_refuse(change: dict[str, Any], data: dict[str, Any]) -> None:
    data |= change
    with pytest.raises(ConfigError):
        parse_config(data, "mine.json", Path())
    assert not is_valid(data)
