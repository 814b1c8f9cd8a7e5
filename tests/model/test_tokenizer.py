"""Tokenizers: another by name, another chat template, and padding without a pad token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.config.sections.model import ModelConfig
from sft.errors import ModelError
from sft.model.tokenizer import load_tokenizer, padding_id


def saved(tokenizer: Any, folder: Path) -> str:
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_the_models_own_and_another(make_tokenizer: Callable[..., Any], tmp_path: Path) -> None:
    own = saved(make_tokenizer(), tmp_path / "own")
    other = saved(make_tokenizer(specials=("<|im_end|>",)), tmp_path / "other")
    config = ModelConfig(name=own)
    assert len(load_tokenizer(config)) == 259
    assert len(load_tokenizer(config, other)) == 257


def test_a_lent_chat_template(make_tokenizer: Callable[..., Any], tmp_path: Path) -> None:
    bare = saved(make_tokenizer(chat_template=None), tmp_path / "bare")
    lender = saved(make_tokenizer(chat_template="lent {{ messages[0]['content'] }}"), tmp_path / "lender")
    assert load_tokenizer(ModelConfig(name=bare)).chat_template is None
    lent = load_tokenizer(ModelConfig(name=bare, chat_template_from=lender))
    assert lent.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "lent x"
    with pytest.raises(ModelError, match=r"model.chat_template_from: .* has no chat template"):
        load_tokenizer(ModelConfig(name=lender, chat_template_from=bare))


def test_padding_id_changes_nothing(make_tokenizer: Callable[..., Any]) -> None:
    assert padding_id(make_tokenizer()) == make_tokenizer().pad_token_id
    for specials in (("<|im_end|>",), ()):
        tokenizer = make_tokenizer(specials=specials)
        size = len(tokenizer)
        assert padding_id(tokenizer) == (tokenizer.eos_token_id or 0)
        assert tokenizer.pad_token is None and len(tokenizer) == size


def test_absent_ones_name_the_key(make_tokenizer: Callable[..., Any], tmp_path: Path) -> None:
    own = saved(make_tokenizer(), tmp_path / "own")
    absent = str(tmp_path / "absent")
    for config, name, key in (
        (ModelConfig(name=absent), None, "model.name"),
        (ModelConfig(name=own), absent, "inference.tokenizer_name"),
        (ModelConfig(name=own, chat_template_from=absent), None, "model.chat_template_from"),
    ):
        with pytest.raises(ModelError, match=f"^{key}: folder .* not found"):
            load_tokenizer(config, name)
