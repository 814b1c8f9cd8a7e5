"""Attention of a causal model: custom masks, sliding windows, and position encodings, as its config states them.

Used wherever several texts are packed into one sequence.
"""

from __future__ import annotations

from typing import Any

from transformers import DynamicCache

from sft.protocols import ArchitectureConfig, LanguageModel

TREE_ATTENTION = ("sdpa", "eager")  # implementations that take a custom attention mask
GROWING_ROPES = ("dynamic", "longrope")  # their frequencies change for long sequences


def base_of(model: LanguageModel) -> LanguageModel:
    """Return the transformers model inside a PEFT model; a transformers model unchanged."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def text_config(base: LanguageModel) -> ArchitectureConfig:
    """Return the config of the text decoder."""
    return base.config.get_text_config(decoder=True)


def attention_of(base: LanguageModel) -> str | None:
    """Return the name of the model's attention implementation in transformers."""
    name: str | None = getattr(base.config, "_attn_implementation", None)
    return name


def cache_layers(base: LanguageModel) -> list[Any] | None:
    """Return the layers of transformers' cache for the model's config; None if it cannot create one."""
    try:
        layers: list[Any] = DynamicCache(config=base.config).layers
    except (AttributeError, LookupError, TypeError, ValueError):  # layer types with incomplete configs
        return None
    return layers


def windows(base: LanguageModel) -> list[int]:
    """Return the sliding windows, in tokens, of the layers that have one."""
    return [layer.sliding_window for layer in cache_layers(base) or () if hasattr(layer, "sliding_window")]


def refuses_masks(base: LanguageModel) -> str | None:
    """Return the reason why the model does not take a custom attention mask, or None."""
    attention = attention_of(base)
    if attention not in TREE_ATTENTION:
        return f"its attention ({attention}) takes no custom attention mask"
    # other models transform a mask with four axes
    return None if getattr(base, "_supports_attention_backend", False) else "it takes no custom attention mask"


def rope_grows(base: LanguageModel, longest: int) -> bool:
    """Whether the position encoding of a text of `longest` tokens differs from that of a shorter one."""
    config: Any = text_config(base)
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    limits = [
        kind.get("original_max_position_embeddings") or config.max_position_embeddings
        for kind in kinds
        if kind.get("rope_type") in GROWING_ROPES
    ]
    return any(longest > limit for limit in limits)
