"""Chat templates to test with: all that the installed `trl` ships, and small ones of our own; tokenizers for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Things in a template's source that its own tokenizer has as control tokens.
_CONTROL = re.compile(
    r"<\|[^<>|\s'\"]+\|?>|<[^<>|\s'\"]+\|>|<\uff5c[^<>\s]+\uff5c>|<(?:bos|eos|/?think|(?:start|end)_of_turn|end_of_utterance)>"
    r"|\[/?INST\]|</?s>|<</?SYS>>"
)

_ROLES = (
    "{% for m in messages %}{% if m.role == 'user' %}<|user|>{{ m.content }}<|end|>\n"
    "{% elif m.role == 'assistant' %}<|bot|>{{ m.content }}<|end|>\n"
)
OWN = {
    "no_system_role": _ROLES
    + "{% else %}{{ raise_exception('System role not supported') }}{% endif %}{% endfor %}"
    + "{% if add_generation_prompt %}<|bot|>{% endif %}",
    "strips_text": "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}<|end|>\n{% endfor %}"
    + "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    "no_generation_prompt": "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}",
    "prompt_not_a_prefix": "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    + "{% if add_generation_prompt %}<|assistant|>\n<think>\n\n</think>\n\n{% endif %}",
    "default_system_text": "{% if messages[0].role != 'system' %}<|system|>\nYou are helpful.<|end|>\n{% endif %}"
    + "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    + "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    # Five more that real models have in one way or another.
    "drops_system": _ROLES + "{% endif %}{% endfor %}{% if add_generation_prompt %}<|bot|>{% endif %}",
    "thinks_in_the_answer_only": "{% for m in messages %}<|{{ m.role }}|>\n"
    + "{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{{ m.content.lstrip('\n') }}"
    + "{% else %}{{ m.content }}{% endif %}<|end|>\n{% endfor %}"
    + "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    "instruction_brackets": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    + "[INST] {{ m.content }} [/INST]"
    + "{% elif m.role == 'assistant' %} {{ m.content | trim }}</s>{% else %}{{ m.content }}\n{% endif %}{% endfor %}",
    "text_end_of_turn": "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n### end\n\n{% endfor %}"
    + "{% if add_generation_prompt %}### assistant:\n{% endif %}",
    "nothing_after_the_answer": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    + "{% if add_generation_prompt %}assistant:{% endif %}",
    "system_before_the_last_turn": "{% for m in messages %}{% if m.role == 'user' %}<|user|>"
    + "{% if loop.revindex <= 2 and messages[0].role == 'system' and (loop.last or loop.revindex == 2 "
    + "and messages[-1].role == 'assistant') %}{{ messages[0].content }}\n\n{% endif %}{{ m.content }}<|end|>"
    + "{% elif m.role == 'assistant' %}<|bot|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    + "{% if add_generation_prompt %}<|bot|>{% endif %}",
}


def shipped() -> dict[str, str]:
    """Name -> source of each template of the installed trl."""
    spec = find_spec("trl")  # found, not imported: importing trl takes seconds
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "chat_templates"
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.jinja"))}


ALL = {**shipped(), **OWN}


def controls(template: str) -> list[str]:
    """The template's control tokens, those of the fixture's ChatML form among them."""
    built = [f"<|{role}|>" for role in ("system", "user", "assistant", "bot", "end")]
    standard = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<bos>"]
    return list(dict.fromkeys([*standard, *built, *sorted(set(_CONTROL.findall(template)))]))


def build_tokenizer(template: str | None, **named: str) -> Any:
    """A byte-level tokenizer with a few merges and the template's control tokens.

    `<think>` and `</think>` are added but not special, as in Qwen3.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "g"), ("Ġg", "o"), ("Ġgo", "o"), ("Ġgoo", "d"), ("g", "o"), ("go", "o"), ("goo", "d")]
    pieces = [*alphabet, *("".join(pair) for pair in merges)]
    core = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    for token in controls(template or ""):
        core.add_tokens([AddedToken(token, normalized=False, special="think" not in token)])
    specials = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": "<bos>", **named}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **specials)
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(params=sorted(ALL))
def template_name(request: pytest.FixtureRequest) -> str:
    """The name of each template in turn."""
    return str(request.param)


@pytest.fixture
def template(template_name: str) -> str:
    """Its source."""
    return ALL[template_name]


@pytest.fixture(scope="session")
def templates() -> dict[str, str]:
    """All of them."""
    return ALL


@pytest.fixture
def tokenizer_with() -> Callable[..., Any]:
    """Build a tokenizer for a template: `tokenizer_with(source)`."""
    return build_tokenizer
