"""Context length of a model, from its config alone."""

from __future__ import annotations

from typing import Any

from sft.config.sections.model import ModelConfig
from sft.model.source import check_folder, reading, trusts_remote_code


def context_length(config: ModelConfig) -> int | None:
    """Return the maximum number of positions of the model; None if its config does not say.

    Raises:
        ModelError: the model does not exist.
    """
    from transformers import AutoConfig

    check_folder("model.name", config.name, "config.json")
    revision: dict[str, Any] = {
        key: config.model_args[key] for key in ("revision", "token", "cache_dir") if key in config.model_args
    }
    with reading("model.name", config.name, revision):
        loaded = AutoConfig.from_pretrained(
            config.name, trust_remote_code=trusts_remote_code(config.model_args), **revision
        )
    text = loaded.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"):
        if isinstance(length := getattr(text, name, None), int) and length > 0:
            return length
    return None
