"""Load a tokenizer by its config, and choose a padding id.

A tokenizer without a pad token is not changed: padding is masked, so any id works, and setting a pad token would change
the effect of `skip_special_tokens` or grow the vocabulary.
"""

from __future__ import annotations

from typing import Any

from sft.config.sections.model import ModelConfig
from sft.errors import ModelError
from sft.model.source import check_folder, reading, trusts_remote_code
from sft.protocols import Tokenizer

HUB_ARGUMENTS = ("token", "cache_dir", "local_files_only")
OF_THE_MODEL = ("revision", "subfolder")


def load_tokenizer(config: ModelConfig, name: str | None = None) -> Tokenizer:
    """Load the tokenizer of the model, or another one by Hub id or folder, with the chat template of the config.

    Args:
        config: the `model` section.
        name: `inference.tokenizer_name`; None for the model's own.

    Raises:
        ModelError: the tokenizer does not exist, or `chat_template_from` has no chat template.
    """
    key = "model.name" if name is None else "inference.tokenizer_name"
    tokenizer = _read(config, key, name or config.name)
    if config.chat_template_from is not None:
        source = _read(config, "model.chat_template_from", config.chat_template_from)
        if source.chat_template is None:
            raise ModelError(f'model.chat_template_from: "{config.chat_template_from}" has no chat template')
        tokenizer.chat_template = source.chat_template
    return tokenizer


def padding_id(tokenizer: Tokenizer) -> int:
    """Return an id for padding: the pad token's, else the end-of-sequence token's, else 0.

    Its value does not matter: padding is masked in attention and in the loss.
    """
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return int(candidate)
    return 0


def _read(config: ModelConfig, key: str, name: str) -> Tokenizer:
    from transformers import AutoTokenizer

    wanted = HUB_ARGUMENTS if name != config.name else (*HUB_ARGUMENTS, *OF_THE_MODEL)
    hub: dict[str, Any] = {key: config.model_args[key] for key in wanted if key in config.model_args}
    check_folder(key, name, "tokenizer_config.json")
    with reading(key, name, hub):
        return AutoTokenizer.from_pretrained(name, trust_remote_code=trusts_remote_code(config.model_args), **hub)
