"""Truncation: cut a text to a number of tokens, share a budget among texts, keep whole rounds of examples.

First, rounds of in-context examples are dropped: the last ones, so that the rest equals a choice of fewer examples, or
the first ones if the nearest example is last. Then the row's own texts are cut at their end, the longest first. The
instruction, the answer and the template's own words are never cut. This module uses no templates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import NamedTuple, TypeVar

from sft.prompting.encoding.encode import Encoder
from sft.prompting.encoding.long_text import WHOLE, encode_data, encode_head, estimate_tokens

Row = Mapping[str, str]
Item = TypeVar("Item")

_GUESSES = 4  # interpolation steps before bisection


class Cut(NamedTuple):
    """A text after cutting, and the number of tokens lost (an estimate for a very long text)."""

    text: str
    lost: int


def cut_text(encoder: Encoder, text: str, limit: int | None, whole: int = WHOLE) -> Cut:
    """Return the longest prefix of `text` of at most `limit` tokens, without splitting a character.

    Args:
        encoder: encoder of a tokenizer.
        text: text to cut.
        limit: maximum number of tokens; None for no limit.
        whole: a text with more characters is not encoded whole, and its number of lost tokens is an estimate.
    """
    if limit is None:
        return Cut(text, 0)
    encoded, is_all = encode_head(encoder, text, limit, whole)
    if is_all and len(encoded.ids) <= limit:
        return Cut(text, 0)
    for tokens in range(limit, 0, -1):
        kept = text[: encoded.ends[tokens - 1]]
        # A cut may change the tokens of the last word, and a character may be several tokens: encode again.
        size = len(encode_data(encoder, kept).ids)
        if size <= limit:
            return Cut(kept, len(encoded.ids) - size if is_all else estimate_tokens(encoder, text[len(kept) :]))
    return Cut("", len(encoded.ids) if is_all else estimate_tokens(encoder, text))


def share(lengths: Sequence[int], room: int) -> list[int]:
    """Return how many tokens each text keeps of `room` tokens in all: the longest are cut first, to equal lengths."""
    keep = list(lengths)
    left, waiting = max(room, 0), sorted(range(len(keep)), key=lambda index: lengths[index])
    for number, index in enumerate(waiting):
        keep[index] = min(lengths[index], left // (len(waiting) - number))
        left -= keep[index]
    return keep


def keep_rounds(examples: Sequence[Item], rounds: int, round_size: int, last: bool = False) -> Sequence[Item]:
    """Return the first (or `last`) `rounds` rounds of examples."""
    kept = max(rounds, 0) * round_size
    return examples[max(len(examples) - kept, 0) :] if last else examples[:kept]


def count_rounds(examples: Sequence[Item], round_size: int) -> int:
    """Return the number of rounds of examples; an incomplete round counts."""
    return -(-len(examples) // round_size)


def largest(length: Callable[[int], int], limit: int, below: int) -> int:
    """Return the largest number under `below` whose length is at most `limit`; 0 if there is none.

    There may be hundreds of numbers, and measuring lengths is expensive. Lengths grow about linearly, so the search
    first interpolates, then bisects.

    Args:
        length: a non-decreasing function.
        limit: maximum length.
        below: a number whose length exceeds the limit.
    """
    most, low, high = 0, length(0), length(below)
    for step in count():
        if below - most < 2 or low > limit:
            break
        share = (limit - low) / (high - low) if step < _GUESSES else 0.5
        number = min(max(most + int((below - most) * share), most + 1), below - 1)
        if (measured := length(number)) > limit:
            below, high = number, measured
        else:
            most, low = number, measured
    return most


def rounds_that_fit(lengths: Iterable[Callable[[int], int]], rounds: int, limit: int | None) -> int:
    """Return the largest number of rounds, up to `rounds`, with which every row fits in `limit` tokens.

    Args:
        lengths: for each row, a function from the number of rounds to the length of the row's prompt and answer.
        rounds: number of available rounds.
        limit: maximum number of tokens; None for no limit.
    """
    if limit is None:
        return rounds
    for length in lengths:
        while rounds and length(rounds) > limit:
            rounds -= 1
        if not rounds:
            break
    return rounds
