"""Compares what we wrote with what the tokenizer itself makes of the same conversation.

The first prompts are compared down to their ids, later ones when a text is of the kind that templates treat in a way of
their own (markup, white space at its ends). It only compares; it knows nothing of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sft.errors import ModelError
from sft.prompting.conversation import Conversation, Layout, text_of
from sft.prompting.encode import Encoder
from sft.prompting.words import OwnWords, Words
from sft.prompting.write import Written
from sft.sequences import common_prefix

_ALWAYS_CHECKED = 3


class Checker:
    """Compares written prompts with the template's own.

    Args:
        tokenizer: the caller's, which has the last word.
        words: of its chat template; None without one.
        encoder: of that tokenizer.
    """

    def __init__(self, tokenizer: Any, words: OwnWords | None, encoder: Encoder) -> None:
        self._tokenizer = tokenizer
        self._words = words
        self._encoder = encoder
        self._checked = 0

    def check(
        self, conversation: Conversation, layout: Layout, written: Written, answers: Sequence[str], words: Words
    ) -> None:
        """Compare the text, and for the first prompts the ids too.

        Args:
            conversation: what the prompt says.
            layout: of its shape.
            written: the prompt.
            answers: what may follow it; the first is compared.
            words: the conversation's texts and answers as they were written.

        Raises:
            ModelError: the template writes another text, or the same text gives other ids than the tokenizer's own.
        """
        first = self._checked < _ALWAYS_CHECKED
        if not first and (self._words is None or self._words.is_ordinary(conversation, answers[:1])):
            return
        self._checked += 1
        if self._words is not None:
            self._check_text(self._words, conversation, layout, written)
            if answers and layout.whole:
                said = words.leads[0] + words.answers[0] + layout.end + layout.rest
                whole = self._words.render(conversation, answers[0])
                if layout.asked and whole is not None:  # the prompt is compared: it may be written in another way here
                    self._compare(whole[-len(said) :], said)
                else:
                    self._compare(whole, written.shown + said)
        texts = [text_of(content) for content in conversation.contents()]
        if first and not any(map(self._encoder.controls.search, texts)) and self._is_plain(written.shown):
            self._check_ids(written)

    def _check_text(self, words: OwnWords, conversation: Conversation, layout: Layout, written: Written) -> None:
        expected = words.render(conversation, None)
        if layout.asked:
            self._compare(expected, written.shown)
        elif layout.whole and expected is not None:
            # The header of the answer belongs to the prompt, and the template writes it only with an answer.
            self._compare(expected, written.shown[: len(self._encoder.data(expected))])

    def _is_plain(self, text: str) -> bool:
        return self._encoder.data(text) == text

    def _compare(self, expected: str | None, written: str) -> None:
        ours = self._encoder.data(written)
        if expected == ours:
            return
        if expected is None:
            raise ModelError("the chat template raises an error on the texts of a row that it does not raise on others")
        at = common_prefix((expected, ours))
        raise ModelError(
            "the chat template writes a text of a row in a way that cannot be followed: "
            f"{expected[at : at + 30]!r} instead of {ours[at : at + 30]!r} after {ours[max(at - 30, 0) : at]!r}; "
            "use another template with model.chat_template_from"
        )

    def _check_ids(self, written: Written) -> None:
        own = self._tokenizer(written.shown, add_special_tokens=False, verbose=False)["input_ids"]
        ours = self._encoder.encode(written.text).ids
        if own != ours:
            at = common_prefix((own, ours))
            raise ModelError(
                f"the tokenizer {type(self._tokenizer).__name__} encodes text in a way of its own "
                f"(token {at}: {own[at : at + 3]} instead of {ours[at : at + 3]}); it cannot be used"
            )
