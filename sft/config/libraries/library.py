"""The arguments of peft, TRL and transformers by name, from a generated table: no library is imported.

`scripts/build_arguments.py` writes the table for the installed versions. Knows nothing of the user's config.
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
    """The JSON values of an argument: simple types (`bool`, `int`, …) and strings; both empty if all are accepted."""

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
    """Return the library versions that the table was made from."""
    return dict(_table()["versions"])


@lru_cache(maxsize=1)
def peft_types() -> tuple[str, ...]:
    """Return every `peft_type`."""
    return tuple(_table()["peft"])


@lru_cache(maxsize=64)
def peft_arguments(peft_type: str) -> Arguments:
    """Return the fields of the PEFT config of this type."""
    return _arguments(_table()["peft"][peft_type])


@lru_cache(maxsize=64)
def trainer_arguments(method: str = DEFAULT_METHOD) -> Arguments:
    """Return the fields of a training method's config class, including those of TrainingArguments."""
    return _arguments(_table()["trainer"][METHODS.spec(method).arguments])


@lru_cache(maxsize=1)
def generation_arguments() -> Arguments:
    """Return the fields of transformers' GenerationConfig."""
    return _arguments(_table()["generation"])


@lru_cache(maxsize=1)
def quantization_classes() -> tuple[str, ...]:
    """Return the quantisation config classes of transformers."""
    return tuple(_table()["quantization"])


@lru_cache(maxsize=64)
def quantization_arguments(config_class: str) -> Arguments:
    """Return the arguments of this quantisation config class; empty if it accepts any."""
    return _arguments(_table()["quantization"][config_class])
