"""What a pre-training document is, and helpers that make one from questions and texts.

A document is a chat (or plain text) that remembers which assistant turns can be answered from what stands before
them (`answerable`: these are weighted in pre-training) and whether it shows any review text (for the audit).
Knows no grammar and no tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple


class Turn(NamedTuple):
    """One message; `answerable` matters for assistant turns only."""

    role: str
    content: str
    answerable: bool = True


@dataclass(frozen=True)
class Document:
    """`kind` names the task family; a plain text is one turn with the role ""."""

    kind: str
    turns: tuple[Turn, ...]
    has_review: bool

    def texts(self) -> list[str]:
        return [turn.content for turn in self.turns]


class Item(NamedTuple):
    """One question-answer pair: what the user says, what the assistant answers."""

    text: str
    answer: str


def chat(kind: str, system: str, items: Iterable[Item], has_review: bool) -> Document:
    """A chat in which every answer can be told from its own user turn and the system message."""
    turns = [Turn("system", system)] if system else []
    for item in items:
        turns += [Turn("user", item.text), Turn("assistant", item.answer)]
    return Document(kind, tuple(turns), has_review)


def in_context(kind: str, system: str, items: Sequence[Item], has_review: bool) -> Document:
    """A chat whose label words mean nothing by themselves: an answer counts once its label has been shown."""
    turns = [Turn("system", system)] if system else []
    shown: set[str] = set()
    for item in items:
        turns += [Turn("user", item.text), Turn("assistant", item.answer, item.answer in shown)]
        shown.add(item.answer)
    return Document(kind, tuple(turns), has_review)


def asked(question: str, items: Sequence[Item], rng: Random) -> tuple[str, list[Item]]:
    """The question as system message (mostly) or as a last line of every user turn."""
    if rng.random() < 0.8:
        return question, list(items)
    return "", [Item(f"{item.text}\n{question}", item.answer) for item in items]


def either(words: Sequence[str]) -> str:
    """("a", "b", "c") -> "a, b or c"."""
    return f"{', '.join(words[:-1])} or {words[-1]}"
