"""Write a conversation with a layout as one text, with the origin of every character, and encode its end.

Uses no rows, examples or limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sft.prompting.conversation import Content, Layout, Slot, text_of
from sft.prompting.encoding.encode import Encoder


class Mark(NamedTuple):
    """Characters `start` to `end` of a written text, which come from data of a kind."""

    start: int
    end: int
    kind: str


class Written(NamedTuple):
    """A prompt as text: with control tokens renamed (`text`), and as the template writes it (`shown`).

    `own` is the start of the row's own turn in `text`: with fixed examples, all rows share the text before it.
    """

    text: str
    shown: str
    marks: list[Mark]
    own: int


class Ending(NamedTuple):
    """Text after a prompt, control tokens renamed: template text before the answer, the answer, the end of turn."""

    lead: str
    answer: str
    end: str


class Finish(NamedTuple):
    """The boundary between a prompt and its endings, in tokens.

    `moved` is the number of tokens at the prompt's end that belong to the completions. `end_tokens` and `lead_tokens`
    are the numbers of tokens of each completion that are the end of turn and template text before the answer.
    """

    moved: int
    completions: tuple[tuple[int, ...], ...]
    end_tokens: int
    lead_tokens: int


def write(contents: Sequence[Content], layout: Layout, encoder: Encoder) -> Written:
    """Insert the contents, which are stripped already, into the layout's prompt."""
    renamed: list[str] = []
    shown: list[str] = []
    marks: list[Mark] = []
    position = own = 0
    for part in layout.prompt:
        if isinstance(part, Slot):
            text = text_of(contents[part.content])
            own = position if part.content == len(contents) - 1 else own
            marks += _marks(contents[part.content], position)
            shown.append(text)
            renamed.append(encoder.data(text))
        else:
            shown.append(part)
            renamed.append(encoder.control(part))
        position += len(renamed[-1])
    return Written("".join(renamed), "".join(shown), marks, own)


def _marks(content: Content, position: int) -> list[Mark]:
    """Return marks for the pieces of a content that come from data."""
    marks: list[Mark] = []
    at = position
    for piece in content:
        if piece.kind and piece.text:
            marks.append(Mark(at, at + len(piece.text), piece.kind))
        at += len(piece.text)
    return marks


def finish(encoder: Encoder, tail: str, endings: tuple[Ending, ...]) -> Finish:
    """Encode `tail` with each ending and find the last token boundary that all share with `tail` alone.

    Args:
        encoder: encoder of the tokenizer.
        tail: the prompt from `Encoded.last_cut` on; nothing before it depends on the endings.
        endings: possible endings; at least one.
    """
    alone = encoder.encode(tail).ids
    joint = [encoder.encode(tail + "".join(ending)) for ending in endings]
    shared = min(_shared(alone, encoded.ids) for encoded in joint)
    end_tokens, lead_tokens = [], []
    for encoded, ending in zip(joint, endings, strict=True):
        after_lead = len(tail) + len(ending.lead)
        end_tokens.append(max(len(encoded.ids) - encoded.token_at(after_lead + len(ending.answer)), 1))
        # A space at the start of the answer's first word does not count as template text.
        lead_tokens.append(encoded.token_over(after_lead) - shared if ending.lead.strip() else 0)
    completions = tuple(tuple(encoded.ids[shared:]) for encoded in joint)
    return Finish(len(alone) - shared, completions, min(end_tokens), max(min(lead_tokens), 0))


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the length of the common prefix."""
    for index, (left, right) in enumerate(zip(first, second, strict=False)):
        if left != right:
            return index
    return min(len(first), len(second))
