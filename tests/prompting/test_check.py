"""The comparison with the tokenizer's own rendering: it sees what differs, and only that."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from sft.config.prompting import PromptingConfig
from sft.errors import ModelError
from sft.prompting.render import Example, Renderer

CONFIG = PromptingConfig(input_columns=("text",), output_column="label")
TURNS = "{% for m in messages %}<|user|>{{ TEXT }}<|end|>{% endfor %}{% if add_generation_prompt %}<|bot|>{% endif %}"


def test_an_answer_that_the_template_would_cut_is_shown_whole_with_one_warning(
    tokenizer_with: Callable[..., Any], templates: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = tokenizer_with(templates["qwen3"])
    renderer = Renderer(tokenizer, CONFIG)
    shown = [Example({"text": "a"}, "before</think>after")]
    with caplog.at_level(logging.WARNING, logger="sft"):
        prompts = [renderer.render({"text": text}, shown) for text in ("b", "c")]
    assert all("before</think>after" in tokenizer.decode(prompt.ids) for prompt in prompts)
    assert len([record for record in caplog.records if "would change some texts" in record.message]) == 1


def test_ordinary_text_gives_no_warning(
    tokenizer_with: Callable[..., Any], template: str, caplog: pytest.LogCaptureFixture
) -> None:
    renderer = Renderer(tokenizer_with(template), CONFIG)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="sft"):
        for text in ("so good", " padded ", "<b>bold</b>", "", "\n"):
            renderer.render({"text": text}, [Example({"text": text}, "good")], "good")
    assert not [record for record in caplog.records if "would change" in record.message]


@pytest.mark.parametrize("change", ["m.content | upper", "m.content | replace('  ', ' ')", "m.content[:3]"])
def test_a_template_that_changes_text_is_noticed(
    tokenizer_with: Callable[..., Any], caplog: pytest.LogCaptureFixture, change: str
) -> None:
    renderer = Renderer(tokenizer_with(TURNS.replace("TEXT", "m.content")), CONFIG)
    renderer.render({"text": "two  spaces"})
    assert caplog.text == ""
    cutting = "[:3]" in change
    with caplog.at_level(logging.WARNING, logger="sft"):
        try:
            Renderer(tokenizer_with(TURNS.replace("TEXT", change)), CONFIG).render({"text": "two  spaces"})
        except ModelError:
            assert cutting, "a template that cuts even our placeholders cannot be used"
            return
    assert "would change some texts" in caplog.text


def test_a_tokenizer_with_ways_of_its_own_is_refused(tokenizer_with: Callable[..., Any]) -> None:
    from transformers import PreTrainedTokenizerFast

    class Reversing(PreTrainedTokenizerFast):
        def __call__(self, text: str, **options: Any) -> Any:
            return super().__call__(text[::-1], **options)

    plain = tokenizer_with(TURNS.replace("TEXT", "m.content"))
    own = Reversing(tokenizer_object=plain.backend_tokenizer)
    own.chat_template = plain.chat_template
    with pytest.raises(ModelError, match="encodes text in a way of its own"):
        Renderer(own, CONFIG).render({"text": "abc"})
