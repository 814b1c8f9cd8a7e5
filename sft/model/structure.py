"""How a causal model attends: what a mask of who sees whom, and text of some length, would meet in it.

Asked by all that puts several texts into one sequence. Knows no adapters and no data.
"""

from __future__ import annotations

from typing import Any

from transformers import DynamicCache

TREE_ATTENTION = ("sdpa", "eager")  # implementations that take a mask of who sees whom
GROWING_ROPES = ("dynamic", "longrope")  # their frequencies change once a sequence is long


def base_of(model: Any) -> Any:
    """The transformers model inside a PEFT model; a transformers model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def text_config(base: Any) -> Any:
    """The config of the part that reads text."""
    return base.config.get_text_config(decoder=True)


def cache_layers(base: Any) -> list[Any] | None:
    """The layers of the cache that transformers makes by the model's config; None where it cannot make one."""
    try:
        layers: list[Any] = DynamicCache(config=base.config).layers
    except (AttributeError, LookupError, TypeError, ValueError):  # types of layers without what they need
        return None
    return layers


def windows(base: Any) -> list[int]:
    """Sliding windows, in tokens, of the layers that have one."""
    return [layer.sliding_window for layer in cache_layers(base) or () if hasattr(layer, "sliding_window")]


def refuses_masks(base: Any) -> str | None:
    """Why the model cannot be told token by token who sees whom, or None."""
    attention = getattr(base.config, "_attn_implementation", None)
    if attention not in TREE_ATTENTION:
        return f"its attention ({attention}) cannot be told who sees whom"
    # other models make their own of a mask with four axes
    return None if getattr(base, "_supports_attention_backend", False) else "it takes no mask of who sees whom"


def rope_grows(base: Any, longest: int) -> bool:
    """Whether the position encoding of a text of `longest` tokens differs from that of a shorter one."""
    config = text_config(base)
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    limits = [
        kind.get("original_max_position_embeddings") or config.max_position_embeddings
        for kind in kinds
        if kind.get("rope_type") in GROWING_ROPES
    ]
    return any(longest > limit for limit in limits)
