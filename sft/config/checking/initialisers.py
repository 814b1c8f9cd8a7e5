"""What the name of an initialiser rules out elsewhere in a config. Knows no initialiser itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sft.config.wording import quoted
from sft.errors import Problem

# Why they need the weights as they were before quantisation.
FULL_PRECISION: Mapping[str, str] = {
    "loftq": "it starts from what quantisation loses",
    "lora_ga": "it needs the weights' gradients",
    "mica": "PEFT decomposes the weights as they are stored",
}
_NOT_ZERO = ("pissa", "pissa_niter_", "olora", "loftq", "corda", "lora_ga")


def start_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """What contradicts `init_lora_weights`, as far as its name tells."""
    model = data.get("model")
    quantised = isinstance(model, Mapping) and isinstance(model.get("quantization"), Mapping)
    for section in ("lora", "adapter"):
        given = data.get(section)
        init = given.get("init_lora_weights") if isinstance(given, Mapping) else None
        if not isinstance(given, Mapping) or not isinstance(init, str):
            continue
        if quantised and (why := FULL_PRECISION.get(init.lower())):
            yield Problem(f"{section}.init_lora_weights", f"{quoted(init)} is not possible on a quantised base: {why}")
        if given.get("use_dora") is True and (init in _NOT_ZERO or init.startswith("pissa_niter_")):
            what = f"DoRA cannot start from a B that is not zero, as {quoted(init)} makes it"
            yield Problem(f"{section}.use_dora", what)
