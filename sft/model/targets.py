"""Check that the model has the layers and parameters that an adapter's config names.

PEFT ignores names that match nothing if another name matches, so a misspelt name would silently train fewer layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sft.config.checking.arguments import HEAD
from sft.errors import ModelError, did_you_mean
from sft.protocols import LanguageModel

ALL_LINEAR = "all-linear"
MOST_LISTED = 20


def check_targets(model: LanguageModel, section: str, arguments: Mapping[str, Any]) -> None:
    """Refuse names of layers or parameters that the model does not have.

    Args:
        model: the base, possibly on the meta device.
        section: `lora` or `adapter`, for the message.
        arguments: arguments of the PEFT config.

    Raises:
        ModelError: a name does not exist; the message lists the existing ones.
    """
    modules = [name for name, _ in model.named_modules()]
    parameters = [name for name, _ in model.named_parameters()]
    for key in ("target_modules", "modules_to_save"):
        named = arguments.get(key)
        if isinstance(named, list) and (absent := _absent(named, modules)):
            raise ModelError(f"{section}.{key}: {_described(absent, _linear(model))}")
    named = arguments.get("target_parameters")
    if isinstance(named, list) and (absent := _absent(named, parameters)):
        raise ModelError(f"{section}.target_parameters: {_described(absent, _last_parts(parameters, 2))}")


def _absent(named: Iterable[Any], existing: Iterable[str]) -> list[str]:
    """Return the names that equal no existing name nor its last part, which is PEFT's comparison."""
    return [
        name
        for name in named
        if isinstance(name, str) and not any(other == name or other.endswith(f".{name}") for other in existing)
    ]


def _described(absent: list[str], existing: list[str]) -> str:
    listed = ", ".join(existing[:MOST_LISTED]) + (", …" if len(existing) > MOST_LISTED else "")
    return f'the model has no layer named "{absent[0]}"{did_you_mean(absent[0], existing)} (it has: {listed})'


def _linear(model: LanguageModel) -> list[str]:
    """Return the last parts of the names of all layers that can have an adapter, each once."""
    layers = [name for name, module in model.named_modules() if getattr(getattr(module, "weight", None), "ndim", 0) > 1]
    return [name for name in dict.fromkeys(name.rpartition(".")[2] for name in layers) if name != HEAD]


def _last_parts(names: Iterable[str], count: int) -> list[str]:
    return list(dict.fromkeys(".".join(name.split(".")[-count:]) for name in names))
