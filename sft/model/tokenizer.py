"""Loads a tokenizer as a config says, and finds a padding id. Knows nothing of prompts.

A tokenizer without a pad token stays so: padded positions are masked, so any id will do, and setting a pad token
would change what `skip_special_tokens` leaves out, or grow the vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sft.config.sections.model import ModelConfig
from sft.errors import ModelError
from sft.model.source import check_folder, reading, trusts_remote_code

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HUB_ARGUMENTS = ("token", "cache_dir", "local_files_only")
OF_THE_MODEL = ("revision", "subfolder")


def load_tokenizer(config: ModelConfig, name: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of the model, or another by hub id or folder, with the chat template the config asks for.

    Args:
        config: the `model` section.
        name: `inference.tokenizer_name`; the model's own when None.

    Raises:
        ModelError: no such tokenizer, or `chat_template_from` names one without a chat template.
    """
    key = "model.name" if name is None else "inference.tokenizer_name"
    tokenizer = _read(config, key, name or config.name)
    if config.chat_template_from is not None:
        lender = _read(config, "model.chat_template_from", config.chat_template_from)
        if lender.chat_template is None:
            raise ModelError(f'model.chat_template_from: "{config.chat_template_from}" has no chat template')
        tokenizer.chat_template = lender.chat_template
    return tokenizer


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """An id to pad with: the pad token's, else the end-of-sequence token's, else 0. Changes nothing.

    What it is does not matter: padded positions are masked in attention and in the loss.
    """
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return int(candidate)
    return 0


def _read(config: ModelConfig, key: str, name: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    wanted = HUB_ARGUMENTS if name != config.name else (*HUB_ARGUMENTS, *OF_THE_MODEL)
    hub: dict[str, Any] = {key: config.model_args[key] for key in wanted if key in config.model_args}
    check_folder(key, name, "tokenizer_config.json")
    with reading(key, name, hub):
        return AutoTokenizer.from_pretrained(name, trust_remote_code=trusts_remote_code(config.model_args), **hub)
