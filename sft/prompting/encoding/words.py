"""Texts as a chat template writes them: stripped, or rewritten (replace, upper, escape).

A layout assumes that a template copies texts. This is tested with one long text of unusual characters, and again for
every text with a string that the template's source compares, splits or replaces: only such a text can be treated
differently. A text that the template changes is replaced by the template's version. The template sees aliases instead
of the control tokens in a text, so it cannot mistake them for its own markup. This module uses no rows, limits or token
ids.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from sft.errors import ModelError
from sft.prompting.conversation import Content, Conversation, Layout, Piece, Slot, Trim, text_of
from sft.prompting.encoding.encode import Encoder
from sft.prompting.templates.syntax import compares_messages, treated_strings
from sft.prompting.templates.template import ChatTemplate, Shape

# Any change that templates make to texts changes this text: case, indents, markup, blank lines, spaces, quotes, length.
_PROBE = (
    "x A sentence, TITLED Like this; über 漢字 🙂 <b>bold</b> & \"double\" 'single' `back` \\ slash {{ braces }} %d $\n"
    "  indented, with spaces at the end  \n\n\n\tafter a tab,\ttwo  spaces\r\nand a URL https://example.org/?a=b&c=d#e "
    f"(a) [b] 1,234.50 -- *bold* _em_\n{'long ' * 3000}x"
)
_OFTEN_TREATED = r"[<>\[\]{}|]|\A\s|\s\Z|\A\Z"


class Words(NamedTuple):
    """Contents and answers of a conversation as the template writes them, with a lead for each answer."""

    contents: list[Content]
    answers: list[str]
    leads: list[str]


class OwnWords:
    """Writes texts as a template does.

    Args:
        template: chat template of a tokenizer.
        encoder: encoder of the tokenizer.
    """

    def __init__(self, template: ChatTemplate, encoder: Encoder) -> None:
        self._template = template
        self._encoder = encoder
        treated = treated_strings(template.source)
        whole = f"\\A\\s*(?:{'|'.join(map(re.escape, treated.whole))})\\s*\\Z"
        patterns = [_OFTEN_TREATED, whole, *map(re.escape, treated.within)]
        self._treated = re.compile("|".join(patterns), re.IGNORECASE)
        self._compares = compares_messages(template.source)
        self._text = lru_cache(maxsize=8192)(self._text_now)
        self._content = lru_cache(maxsize=16384)(self._content_now)
        self._rewrites = lru_cache(maxsize=64)(self._rewrites_now)

    def is_ordinary(self, conversation: Conversation, answers: Sequence[str]) -> bool:
        """Whether the template gives no text special treatment."""
        texts = [text_of(content) for content in conversation.contents()]
        if self._compares and len(set(texts)) < len(texts):
            return False
        return not any(map(self._treated.search, [*texts, *answers]))

    def write(self, shape: Shape, layout: Layout, contents: Sequence[Content], answers: Sequence[str]) -> Words:
        """Return the contents and answers as the template writes them.

        Raises:
            ModelError: a text changes the template's own text around it.
        """
        short, indices = _canonical(shape)
        trims = {slot.content: slot.trim for slot in layout.prompt if isinstance(slot, Slot)}
        written = [
            self._content(short, indices[index], content, trims.get(index, Trim()))
            for index, content in enumerate(contents)
        ]
        ended = [self._answer(short, layout, answer) for answer in answers]
        return Words(written, [answer for _, answer in ended], [lead for lead, _ in ended])

    def render(self, conversation: Conversation, answer: str | None) -> str | None:
        """Render the prompt, or the whole conversation with the answer; None if the template raises."""
        texts = [self._hidden(text_of(content)) for content in conversation.contents()]
        shown = None if answer is None else self._hidden(answer)
        text = self._template.render(bool(conversation.system), texts, shown)
        return None if text is None else self._encoder.revealed(text)

    def _content_now(self, shape: Shape, index: int, content: Content, trim: Trim) -> Content:
        text = text_of(content)
        clipped = clip(content, trim)
        if not text.strip() or not self._is_treated(shape, index, text):
            return clipped
        written = self._text(shape, index, text)
        if written is None:
            raise _cannot_follow(text)
        if written == text_of(clipped):
            return clipped
        if len(content) > 1:
            pieces = [Piece(self._text(shape, index, piece.text) or "", piece.kind) for piece in content]
            if text_of(tuple(pieces)) == written:
                return tuple(pieces)
        return (Piece(written, max(content, key=lambda piece: (bool(piece.kind), len(piece.text))).kind),)

    def _answer(self, shape: Shape, layout: Layout, answer: str) -> tuple[str, str]:
        """Return the lead of an answer, and the answer as the template writes it."""
        start, end = layout.answer.bounds(answer)
        if not answer.strip() or not self._is_treated(shape, shape.size, answer):
            return layout.lead, answer[start:end]
        written = self._text(shape, shape.size, answer)
        if written is not None:
            return layout.lead, written
        if layout.whole:  # the lead may differ: a chain of thought in the answer
            written = self._shown(self._template.continued(shape, self._hidden(answer)))
        if written is None:
            raise _cannot_follow(answer)
        return "", written

    def _is_treated(self, shape: Shape, index: int, text: str) -> bool:
        return self._treated.search(text) is not None or self._rewrites(shape, index)

    def _rewrites_now(self, shape: Shape, index: int) -> bool:
        """Whether the template changes a content beyond stripping white space."""
        return self._template.rewritten(shape, index, _PROBE) != _PROBE

    def _text_now(self, shape: Shape, index: int, text: str) -> str | None:
        return self._shown(self._template.rewritten(shape, index, self._hidden(text)))

    def _shown(self, written: str | None) -> str | None:
        """Return the template's text without aliases; None if it wrote control tokens, which no text may hold."""
        if written is None or self._encoder.controls.search(written):
            return None
        return self._encoder.revealed(written)

    def _hidden(self, text: str) -> str:
        return self._encoder.control(self._encoder.data(text))


def _canonical(shape: Shape) -> tuple[Shape, list[int]]:
    """Return an equivalent shape of at most two rounds without blanks, and the index in it of each content.

    Templates treat all middle turns alike, so results are shared between numbers of rounds.
    """
    rounds = min(shape.rounds, 2)
    short = Shape(shape.system, rounds)
    first = int(shape.system)
    turns = [2 * min(n, rounds - 1) + role for n in range(shape.rounds) for role in range(2)]
    return short, [*range(first), *(first + turn for turn in turns), short.size - 1]


def clip(content: Content, trim: Trim) -> Content:
    """Return a content without the white space that a template strips."""
    start, end = trim.bounds(text_of(content))
    pieces, at = [], 0
    for piece in content:
        first, last = max(start - at, 0), min(end - at, len(piece.text))
        at += len(piece.text)
        if last > first:
            pieces.append(piece._replace(text=piece.text[first:last]))
    return tuple(pieces)


def _cannot_follow(text: str) -> ModelError:
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    return ModelError(
        f"the chat template treats the text {shown!r} as markup in an unsupported way; remove the text or use another "
        "template with model.chat_template_from"
    )
