"""What a prompt says before any template: a system text, earlier rounds, the row. Knows nothing of tokens or templates.

A content is made of pieces, so that it stays known which characters came from the data and which words are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Piece(NamedTuple):
    """A run of text of one origin. Kind: instruction, input, example_input, example_answer; empty for our own words."""

    text: str
    kind: str = ""


Content = tuple[Piece, ...]


def text_of(content: Content) -> str:
    """The whole text of a content."""
    return content[0].text if len(content) == 1 else "".join(piece.text for piece in content)


@dataclass(frozen=True)
class Conversation:
    """System text (may be empty), rounds of (user, assistant), and the user turn that asks for the answer."""

    system: Content
    rounds: tuple[tuple[Content, Content], ...]
    user: Content

    def contents(self) -> list[Content]:
        """Every content in order: the system's first when there is one, then the turns. Their place is their slot."""
        turns = [content for round_ in self.rounds for content in round_]
        return [*([self.system] if self.system else []), *turns, self.user]

    def merged(self) -> Conversation:
        """The same without a system turn: its text opens the first user turn, a blank line after it."""
        if not self.system:
            return self
        opening = (*self.system, Piece("\n\n"))
        if not self.rounds:
            return Conversation((), (), opening + self.user)
        (user, assistant), *others = self.rounds
        return Conversation((), ((opening + user, assistant), *others), self.user)


class Trim(NamedTuple):
    """What a template takes off the two ends of a text: "none", "newlines" or "whitespace", each side for itself."""

    left: str = "none"
    right: str = "none"

    def bounds(self, text: str) -> tuple[int, int]:
        """Start and end of what stays of `text`."""
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
    """The place of a content in a layout: which one, and what the template takes off its ends."""

    content: int
    trim: Trim = Trim()


@dataclass(frozen=True)
class Layout:
    """How a template writes a conversation of one shape.

    Attributes:
        prompt: template text and slots, up to where the model takes over.
        lead: what the model has to write before its answer (a space, an empty thinking block, a channel header).
        answer: what the template takes off the ends of the answer.
        end: the end of turn: what the template puts after the answer, through its first control token.
        rest: what it puts after that; never trained on.
        whole: prompt + lead + answer + end + rest is the template's own text of the whole conversation.
        asked: the prompt is the template's own text with its generation prompt, to the letter.
    """

    prompt: tuple[str | Slot, ...]
    lead: str
    answer: Trim
    end: str
    rest: str
    whole: bool = True
    asked: bool = True
