"""Whether the layers and parameters that an adapter's config names are in the model. Knows nothing of training.

PEFT leaves out names that match nothing as long as one name matches, so a misspelt one would train less in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sft.config.checking.arguments import HEAD
from sft.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"
MOST_LISTED = 20


def check_targets(model: PreTrainedModel, section: str, arguments: Mapping[str, Any]) -> None:
    """Refuse names of layers or parameters that the model lacks, with those that it has.

    Args:
        model: the base; it may be without weights (on the meta device).
        section: `lora` or `adapter`, for the message.
        arguments: of the PEFT config.

    Raises:
        ModelError: in one line, with the key.
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


def _absent(named: Iterable[Any], there: Iterable[str]) -> list[str]:
    """The names that are neither one of those there nor the end of one, as PEFT compares them."""
    return [
        name
        for name in named
        if isinstance(name, str) and not any(one == name or one.endswith(f".{name}") for one in there)
    ]


def _described(absent: list[str], there: list[str]) -> str:
    listed = ", ".join(there[:MOST_LISTED]) + (", …" if len(there) > MOST_LISTED else "")
    return f'the model has no layer named "{absent[0]}"{did_you_mean(absent[0], there)} (it has: {listed})'


def _linear(model: PreTrainedModel) -> list[str]:
    """The last parts of the names of all layers that an adapter may sit on, each once."""
    layers = [name for name, module in model.named_modules() if getattr(getattr(module, "weight", None), "ndim", 0) > 1]
    return [name for name in dict.fromkeys(name.rpartition(".")[2] for name in layers) if name != HEAD]


def _last_parts(names: Iterable[str], count: int) -> list[str]:
    return list(dict.fromkeys(".".join(name.split(".")[-count:]) for name in names))
