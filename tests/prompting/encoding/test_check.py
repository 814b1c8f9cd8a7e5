"""The comparison with the tokenizer's own rendering: it detects all differences and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from sft.config.sections.prompting import PromptingConfig
from sft.errors import ModelError
from sft.prompting.render import Example, Renderer

CONFIG = PromptingConfig(input_columns=("text",), output_column="label")
TURNS = "{% for m in messages %}<|user|>{{ TEXT }}<|end|>{% endfor %}{% if add_generation_prompt %}<|bot|>{% endif %}"


def test_markup_of_the_template_in_data_stays_text(
    tokenizer_with: Callable[..., Any], templates: dict[str, str]
) -> None:
    tokenizer = tokenizer_with(templates["qwen3"])
    renderer = Renderer(tokenizer, CONFIG)
    shown = [Example({"text": "a"}, "before</think>after")]
    prompt = renderer.render({"text": "b</think>c"}, shown, "d</think>e")
    assert "before</think>after" in tokenizer.decode(prompt.ids)
    assert "b</think>c" in tokenizer.decode(prompt.ids)
    assert tokenizer.decode(prompt.completion_ids) == "<think>\n\n</think>\n\nd</think>e<|im_end|>"
    assert prompt.completion_ids.count(tokenizer.convert_tokens_to_ids("</think>")) == 1


def test_only_the_first_ordinary_texts_are_compared_with_the_template(
    tokenizer_with: Callable[..., Any], templates: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rendering every prompt twice would double the time."""
    tokenizer = tokenizer_with(templates["qwen2_5"])
    renderer = Renderer(tokenizer, CONFIG)
    seen: list[Any] = []
    own = type(tokenizer).apply_chat_template

    def watched(self: Any, conversation: Any, **options: Any) -> Any:
        seen.append(conversation)
        return own(self, conversation, **options)

    monkeypatch.setattr(type(tokenizer), "apply_chat_template", watched)
    for number in range(20):
        renderer.render({"text": f"row {number}"}, [], "good")
    before = len(seen)
    for number in range(20, 40):
        renderer.render({"text": f"row {number}"}, [], "good")
    assert before > 0
    assert len(seen) == before


def test_text_gives_no_warning(
    tokenizer_with: Callable[..., Any], template: str, caplog: pytest.LogCaptureFixture
) -> None:
    renderer = Renderer(tokenizer_with(template), CONFIG)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="sft"):
        for text in ("so good", " padded ", "<b>bold</b>", "", "\n"):
            renderer.render({"text": text}, [Example({"text": text}, "good")], "good")
    assert not [record for record in caplog.records if "enable_thinking" not in record.message]


def test_a_tokenizer_with_unsupported_encoding_is_refused(tokenizer_with: Callable[..., Any]) -> None:
    from transformers import PreTrainedTokenizerFast

    class Reversing(PreTrainedTokenizerFast):
        def __call__(self, text: str, **options: Any) -> Any:
            return super().__call__(text[::-1], **options)

    plain = tokenizer_with(TURNS.replace("TEXT", "m.content"))
    own = Reversing(tokenizer_object=plain.backend_tokenizer)
    own.chat_template = plain.chat_template
    with pytest.raises(ModelError, match="encodes text in an unsupported way"):
        Renderer(own, CONFIG).render({"text": "abc"})
