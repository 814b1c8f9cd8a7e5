"""Compares what we wrote with what the tokenizer itself makes of the same conversation.

The first prompts are compared down to their ids, later ones when a text is of the kind that templates treat in a way of
their own (markup, white space at its ends). It only judges; it knows nothing of rows.
"""

from __future__ import annotations

import re
from typing import Any

from sft.errors import ModelError
from sft.log import get_logger
from sft.prompting.conversation import Conversation, Layout, text_of
from sft.prompting.encode import Encoder
from sft.prompting.plain import PlainTemplate
from sft.prompting.template import ChatTemplate
from sft.prompting.write import Written, trimmed

logger = get_logger(__name__)

_UNUSUAL = re.compile(r"[<>\[\]{}|]|\A\s|\s\Z|\A\Z")
_ALWAYS_CHECKED = 2


class Checker:
    """Judges written prompts.

    Args:
        tokenizer: the caller's, which has the last word.
        template: of that tokenizer.
        encoder: of that tokenizer.
    """

    def __init__(self, tokenizer: Any, template: ChatTemplate | PlainTemplate, encoder: Encoder) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._encoder = encoder
        self._checked = 0
        self._warned = False

    def check(self, conversation: Conversation, layout: Layout, written: Written, answer: str | None) -> None:
        """Compare text, and for the first prompts ids too.

        A text that the template would change is shown unchanged, with one warning: `</think>` in an answer, say, makes
        some templates cut it off.

        Raises:
            ModelError: the same text gives other ids than the tokenizer's own.
        """
        texts = [text_of(content) for content in conversation.contents()]
        first = self._checked < _ALWAYS_CHECKED
        if not first and not any(map(_UNUSUAL.search, [*texts, *([answer] if answer is not None else [])])):
            return
        self._checked += 1
        self._check_text(conversation, layout, written, answer)
        untouched = (
            not any(map(self._encoder.controls.search, texts)) and self._encoder.data(written.shown) == written.shown
        )
        if first and untouched:
            self._check_ids(written)

    def _check_text(self, conversation: Conversation, layout: Layout, written: Written, answer: str | None) -> None:
        if isinstance(self._template, PlainTemplate):
            return
        expected = self._template.render(conversation, None)
        same = expected is not None and (
            written.shown == expected if layout.asked else written.shown.startswith(expected) or not layout.whole
        )
        if same and answer is not None and layout.whole:
            said = layout.lead + trimmed(answer, layout.answer) + layout.end + layout.rest
            same = self._template.render(conversation, answer) == written.shown + said
        if not same and not self._warned:
            self._warned = True
            logger.warning(
                "the chat template would change some texts (markup of its own in them?); they are shown as they are"
            )

    def _check_ids(self, written: Written) -> None:
        own = self._tokenizer(written.shown, add_special_tokens=False, verbose=False)["input_ids"]
        ours = self._encoder.encode(written.text).ids
        if own != ours:
            at = next((i for i, (a, b) in enumerate(zip(own, ours, strict=False)) if a != b), min(len(own), len(ours)))
            raise ModelError(
                f"the tokenizer {type(self._tokenizer).__name__} encodes text in a way of its own "
                f"(token {at}: {own[at : at + 3]} instead of {ours[at : at + 3]}); it cannot be used"
            )
