"""A prompt before any template: a system text, earlier rounds, the row. Uses no tokens or templates.

A content consists of pieces, so that the origin of every character stays known: from the data, or added by us.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Piece(NamedTuple):
    """A run of text of one origin. Kind: instruction, input, example_input, example_answer; empty for added words."""

    text: str
    kind: str = ""


Content = tuple[Piece, ...]


def text_of(content: Content) -> str:
    """Return the whole text of a content."""
    return content[0].text if len(content) == 1 else "".join(piece.text for piece in content)


@dataclass(frozen=True)
class Conversation:
    """System text (may be empty), rounds of (user, assistant), and the user turn that asks for the answer."""

    system: Content
    rounds: tuple[tuple[Content, Content], ...]
    user: Content

    def contents(self) -> list[Content]:
        """Return all contents in order: the system text if there is one, then the turns. A slot holds the index."""
        turns = [content for round_ in self.rounds for content in round_]
        return [*([self.system] if self.system else []), *turns, self.user]

    def merged(self) -> Conversation:
        """Return the conversation with the system text moved to the start of the first user turn, with a blank line."""
        if not self.system:
            return self
        opening = (*self.system, Piece("\n\n"))
        if not self.rounds:
            return Conversation((), (), opening + self.user)
        (user, assistant), *others = self.rounds
        return Conversation((), ((opening + user, assistant), *others), self.user)


class Trim(NamedTuple):
    """What a template strips from each end of a text: "none", "newlines" or "whitespace"."""

    left: str = "none"
    right: str = "none"

    def bounds(self, text: str) -> tuple[int, int]:
        """Return the start and the end of the stripped text within `text`."""
        if self == _NO_TRIM:
            return 0, len(text)
        kept = text.rstrip(_STRIPPED[self.right]) if self.right != "none" else text
        end = len(kept)
        if self.left != "none":
            kept = kept.lstrip(_STRIPPED[self.left])
        return end - len(kept), end


_NO_TRIM = Trim()
_STRIPPED = {"newlines": "\n", "whitespace": None}


class Slot(NamedTuple):
    """The slot of a content in a layout: the content's index, and what the template strips from its ends."""

    content: int
    trim: Trim = Trim()


@dataclass(frozen=True)
class Layout:
    """The template's text around the contents of a conversation of one shape.

    Attributes:
        prompt: template text and slots, up to the point where the model continues.
        lead: text that the model has to write before its answer (a space, an empty thinking block, a channel header).
        answer: what the template strips from the ends of the answer.
        end: the end of turn: the template's text after the answer, through its first control token.
        rest: the template's text after the end of turn; never trained on.
        whole: whether prompt + lead + answer + end + rest equals the template's text of the whole conversation.
        asked: whether the prompt equals the template's text with its generation prompt.
    """

    prompt: tuple[str | Slot, ...]
    lead: str
    answer: Trim
    end: str
    rest: str
    whole: bool = True
    asked: bool = True
