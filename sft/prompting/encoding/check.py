"""Compare written prompts with the tokenizer's own rendering of the same conversation.

The first prompts are compared including their ids. Later prompts are compared if a text may get special treatment by
the template (markup, white space at its ends). This module only compares; it uses no rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from sft.errors import ModelError
from sft.prompting.conversation import Conversation, Layout, text_of
from sft.prompting.encoding.encode import Encoder
from sft.prompting.encoding.words import OwnWords, Words
from sft.prompting.encoding.write import Written
from sft.protocols import Tokenizer
from sft.sequences import common_prefix

_ALWAYS_CHECKED = 3


class Checker:
    """Compares written prompts with the template's own rendering.

    Args:
        tokenizer: the caller's tokenizer, the reference.
        words: texts as its chat template writes them; None without a chat template.
        encoder: encoder of the tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer, words: OwnWords | None, encoder: Encoder) -> None:
        self._tokenizer = tokenizer
        self._words = words
        self._encoder = encoder
        self._checked = 0

    def check(
        self, conversation: Conversation, layout: Layout, written: Written, answers: Sequence[str], words: Words
    ) -> None:
        """Compare the text, and for the first prompts also the ids.

        Args:
            conversation: conversation of the prompt.
            layout: layout of its shape.
            written: the prompt.
            answers: possible answers; the first is compared.
            words: texts and answers of the conversation, as written.

        Raises:
            ModelError: the template writes another text, or the tokenizer gives other ids for the same text.
        """
        first = self._checked < _ALWAYS_CHECKED
        if not first and (self._words is None or self._words.is_ordinary(conversation, answers[:1])):
            return
        self._checked += 1
        if self._words is not None:
            self._check_text(self._words, conversation, layout, written)
            if answers and layout.whole:
                completion = words.leads[0] + words.answers[0] + layout.end + layout.rest
                whole = self._words.render(conversation, answers[0])
                if layout.asked and whole is not None:  # the prompt was compared above; here it may differ
                    self._compare(whole[-len(completion) :], completion)
                else:
                    self._compare(whole, written.shown + completion)
        texts = [text_of(content) for content in conversation.contents()]
        if first and not any(map(self._encoder.controls.search, texts)) and self._is_plain(written.shown):
            self._check_ids(written)

    def _check_text(self, words: OwnWords, conversation: Conversation, layout: Layout, written: Written) -> None:
        expected = words.render(conversation, None)
        if layout.asked:
            self._compare(expected, written.shown)
        elif layout.whole and expected is not None:
            # The header of the answer is part of the prompt, but the template writes it only together with an answer.
            self._compare(expected, written.shown[: len(self._encoder.data(expected))])

    def _is_plain(self, text: str) -> bool:
        return self._encoder.data(text) == text

    def _compare(self, expected: str | None, written: str) -> None:
        ours = self._encoder.data(written)
        if expected == ours:
            return
        if expected is None:
            raise ModelError(
                "the chat template raises an error for the texts of one row but not for other texts; "
                "use another template with model.chat_template_from"
            )
        at = common_prefix((expected, ours))
        raise ModelError(
            "the chat template changes a text of a row in an unsupported way: "
            f"expected {ours[at : at + 30]!r}, got {expected[at : at + 30]!r} after {ours[max(at - 30, 0) : at]!r}; "
            "use another template with model.chat_template_from"
        )

    def _check_ids(self, written: Written) -> None:
        own = self._tokenizer(written.shown, add_special_tokens=False, verbose=False)["input_ids"]
        ours = self._encoder.encode(written.text).ids
        if own != ours:
            at = common_prefix((own, ours))
            raise ModelError(
                f"the tokenizer {type(self._tokenizer).__name__} encodes text in an unsupported way "
                f"(at token {at}: expected {ours[at : at + 3]}, got {own[at : at + 3]}); use another tokenizer"
            )
