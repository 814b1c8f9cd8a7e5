"""Chat templates for tests (all of the installed `trl`, and small ones of our own), and tokenizers for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Strings in a template's source that are control tokens of its own tokenizer.
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
    # Five more, similar to those of real models.
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


# Small templates similar to those of real models: each has a property that is hard to reproduce.
_CLASSIC = "{% for m in messages %}<|start|>{{ m.role }}<|sep|>{{ m.content }}<|end|>"
_COHERE = (
    "{{ bos_token }}{% set ns = namespace(system='') %}{% if messages[0].role == 'system' %}"
    "{% set ns.system = messages[0].content %}{% set messages = messages[1:] %}{% endif %}"
    "<|start|><|system|>{{ ns.system }}<|end|>{% for m in messages %}"
    "{% if m.role == 'user' %}<|start|><|user|>{{ m.content }}<|end|>"
    "{% else %}<|start|><|bot|><|think|>{{ m.content }}<|/think|><|end|>{% endif %}{% endfor %}"
)
_LAST_TURN = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set messages = messages[1:] %}{% endif %}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}{% if loop.last and system is defined %}[INST]{{ GAP + system + '\n\n' + TEXT }}[/INST]"
    "{% else %}[INST]{{ GAP + TEXT }}[/INST]{% endif %}{% else %}{{ ANSWER }}{{ eos_token }}{% endif %}{% endfor %}"
)
_CLOCK = (
    "{% if strftime_now is defined %}{% set today = strftime_now(FORMAT) %}{% else %}{% set today = 'x' %}{% endif %}"
)


def _last_turn(gap: str, text: str, answer: str) -> str:
    return _LAST_TURN.replace("GAP", repr(gap)).replace("TEXT", text).replace("ANSWER", answer)


KINDS = {
    # The header of an answer is always written, in whole or in part.
    "always_asks": _CLASSIC + "{% endfor %}<|start|>assistant<|sep|>",
    "always_asks_after_a_line": _CLASSIC + "\n{% endfor %}<|start|>assistant<|sep|>",
    "always_asks_in_part": _CLASSIC + "{% endfor %}<|start|>{% if add_generation_prompt %}assistant<|sep|>{% endif %}",
    "always_asks_up_to_the_role": _CLASSIC
    + "{% endfor %}<|start|>assistant{% if add_generation_prompt %}<|sep|>{% endif %}",
    "asks_twice": _CLASSIC
    + "{% endfor %}<|start|>assistant<|sep|>{% if add_generation_prompt %}<|start|>assistant<|sep|>{% endif %}",
    "always_asks_after_a_preamble": "A chat.\n" + _CLASSIC + "{% endfor %}<|start|>assistant<|sep|>",
    "always_asks_and_has_a_default": "{% if messages[0].role != 'system' %}<|start|>system<|sep|>Help.<|end|>"
    + "{% endif %}" + _CLASSIC + "{% endfor %}<|start|>assistant<|sep|>",
    "always_asks_in_words": "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n### end\n\n{% endfor %}"
    + "{{ '### assistant:\n' }}",
    "always_asks_in_words_after_a_preamble": "A chat.\n\n{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n"
    + "### end\n\n{% endfor %}{{ '### assistant:\n' }}",
    "always_asks_without_end": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:",
    "command_a": _COHERE + "<|start|><|bot|>",
    "command_a_conditional": _COHERE + "{% if add_generation_prompt %}<|start|><|bot|>{% endif %}",
    "codellama_70b": "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}Source: {{ m.role }}\n\n "
    + "{{ m.content.strip() }} <|step|> {% endfor %}Source: assistant\nDestination: user\n\n ",
    "llama_guard": "{% if messages | length % 2 == 0 %}{% set role = 'Agent' %}{% else %}{% set role = 'User' %}"
    + "{% endif %}<|start|>user<|sep|>Is the last {{ role }} message safe?\n\n{% for m in messages %}"
    + "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    + "{{ 'User' if m.role == 'user' else 'Agent' }}: {{ m.content | trim }}\n\n{% endfor %}"
    + "Now evaluate the last {{ role }} message.<|end|><|start|>assistant<|sep|>",
    "separator_only": "{% for m in messages %}<|sep|>{{ m.content }}{% endfor %}<|sep|>",
    # The system text is before the last user turn, so it is missing if an answer follows.
    "mistral_v3": _last_turn(" ", "m.content", "' ' + m.content | trim"),
    "nemo": _last_turn("", "m.content", "m.content"),
    "pixtral": _last_turn("", "m.content[0]['text']", "m.content[0]['text']"),
    # The inside of texts is changed.
    "falcon": "{% for m in messages %}{% if not loop.first %}\n\n{% endif %}{{ m.role | capitalize }}: "
    + "{{ m.content.replace('\\r\\n', '\\n').replace('\\n\\n', '\\n') | trim }}{% endfor %}"
    + "{% if add_generation_prompt %}\n\nAssistant:{% endif %}",
    # The date is read from the clock.
    "llama_31": "{{ bos_token }}" + _CLOCK.replace("FORMAT", "'%d %b %Y'")
    + "{% if messages[0].role == 'system' %}{% set system = messages[0].content | trim %}"
    + "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    + "<|start|>system<|sep|>\n\nToday Date: {{ today }}\n\n{{ system }}<|end|>{% for m in messages %}"
    + "<|start|>{{ m.role }}<|sep|>\n\n{{ m.content | trim }}<|end|>{% endfor %}"
    + "{% if add_generation_prompt %}<|start|>assistant<|sep|>\n\n{% endif %}",
    "granite": _CLOCK.replace("FORMAT", "'%B %d, %Y'") + "{% if messages[0].role != 'system' %}<|start|>system<|sep|>"
    + "Today's Date: {{ today }}.\nYou are Granite.<|end|>\n{% endif %}" + _CLASSIC
    + "\n{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|sep|>{% endif %}",
}  # fmt: skip


def shipped() -> dict[str, str]:
    """Return the source of each template of the installed trl, by name."""
    spec = find_spec("trl")  # found, not imported: importing trl takes seconds
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "chat_templates"
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.jinja"))}


ALL = {**shipped(), **OWN, **KINDS}


def controls(template: str) -> list[str]:
    """Return the template's control tokens, with those of the fixture's ChatML form."""
    built = [f"<|{role}|>" for role in ("system", "user", "assistant", "bot", "end", "start", "sep")]
    standard = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<bos>"]
    return list(dict.fromkeys([*standard, *built, *sorted(set(_CONTROL.findall(template)))]))


def build_tokenizer(template: str | None, **named: str) -> Any:
    """Build a byte-level tokenizer with a few merges and the template's control tokens.

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
    """Return the name of each template in turn."""
    return str(request.param)


@pytest.fixture
def template(template_name: str) -> str:
    """Return the source of the template."""
    return ALL[template_name]


@pytest.fixture(scope="session")
def templates() -> dict[str, str]:
    """Return the sources of all templates."""
    return ALL


@pytest.fixture
def tokenizer_with() -> Callable[..., Any]:
    """Return a function that builds a tokenizer for a template: `tokenizer_with(source)`."""
    return build_tokenizer
