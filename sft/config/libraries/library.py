"""The arguments of peft, TRL and transformers by name, from a generated table: nothing is imported to know them.

The table is written by `scripts/build_arguments.py` for the installed versions. Knows nothing of the user's config.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from sft.plugins import DEFAULT_METHOD, METHODS

TABLE = Path(__file__).with_name("library_arguments.json")


class Argument(NamedTuple):
    """What JSON value an argument takes: simple types (`bool`, `int`, …) and texts; both empty where anything goes."""

    types: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()


Arguments = Mapping[str, Argument]


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def _arguments(entries: Mapping[str, Mapping[str, list[str]]]) -> Arguments:
    return {
        name: Argument(tuple(entry.get("types", ())), tuple(entry.get("choices", ())))
        for name, entry in entries.items()
    }


def library_versions() -> Mapping[str, str]:
    """The versions that the table was made from."""
    return dict(_table()["versions"])


@lru_cache(maxsize=1)
def peft_types() -> tuple[str, ...]:
    """Every `peft_type`."""
    return tuple(_table()["peft"])


@lru_cache(maxsize=64)
def peft_arguments(peft_type: str) -> Arguments:
    """Fields of the PEFT config of that type."""
    return _arguments(_table()["peft"][peft_type])


@lru_cache(maxsize=64)
def trainer_arguments(method: str = DEFAULT_METHOD) -> Arguments:
    """Fields of the config class of a training method, those inherited from TrainingArguments included."""
    return _arguments(_table()["trainer"][METHODS.spec(method).arguments])


@lru_cache(maxsize=1)
def generation_arguments() -> Arguments:
    """Fields of transformers' GenerationConfig."""
    return _arguments(_table()["generation"])


@lru_cache(maxsize=1)
def quantization_classes() -> tuple[str, ...]:
    """Quantisation config classes of transformers."""
    return tuple(_table()["quantization"])


@lru_cache(maxsize=64)
def quantization_arguments(config_class: str) -> Arguments:
    """Arguments of that quantisation config class; empty where it takes anything."""
    return _arguments(_table()["quantization"][config_class])
