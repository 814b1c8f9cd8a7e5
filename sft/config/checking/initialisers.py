"""Settings that an initialiser's name rules out elsewhere in a config. Imports no initialiser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sft.config.wording import quoted
from sft.errors import Problem
from sft.plugins import initializer_spec


def start_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the settings that contradict `init_lora_weights`, as far as its name shows."""
    model = data.get("model")
    quantised = isinstance(model, Mapping) and isinstance(model.get("quantization"), Mapping)
    for section in ("lora", "adapter"):
        arguments = data.get(section)
        init = arguments.get("init_lora_weights") if isinstance(arguments, Mapping) else None
        if not isinstance(arguments, Mapping) or not isinstance(init, str):
            continue
        spec = initializer_spec(init)
        if quantised and (why := spec.needs_full_precision):
            yield Problem(
                f"{section}.init_lora_weights", f"{quoted(init)} is not possible with model.quantization: {why}"
            )
        if arguments.get("use_dora") is True and not spec.starts_at_zero:
            what = f"DoRA requires that B starts at zero; {quoted(init)} starts from another B"
            yield Problem(f"{section}.use_dora", what)
