"""Too much text: cut one text to a number of tokens, share the room among several, keep whole rounds of examples.

The order of the contract: rounds of in-context examples go first (the last ones, so that what is left is what fewer
examples would have given; the first ones where the nearest stand last), then the row's own texts are cut at their end,
the longest first. The instruction, the answer and the template's own words are never cut. It knows nothing of
templates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import NamedTuple, TypeVar

from sft.prompting.encode import Encoder
from sft.prompting.long_text import WHOLE, encode_data, encode_head, estimate_tokens

Row = Mapping[str, str]
Item = TypeVar("Item")

_GUESSES = 4  # before halving, which never takes long


class Cut(NamedTuple):
    """A text after cutting, and how many tokens it lost: about how many, if it was very long."""

    text: str
    lost: int


def cut_text(encoder: Encoder, text: str, limit: int | None, whole: int = WHOLE) -> Cut:
    """The longest beginning of `text` that takes at most `limit` tokens, never splitting a character.

    Args:
        encoder: of a tokenizer.
        text: to be cut.
        limit: tokens; None for no limit.
        whole: a text of more characters is not encoded whole, and how many tokens it lost is an estimate.
    """
    if limit is None:
        return Cut(text, 0)
    encoded, is_all = encode_head(encoder, text, limit, whole)
    if is_all and len(encoded.ids) <= limit:
        return Cut(text, 0)
    for tokens in range(limit, 0, -1):
        kept = text[: encoded.ends[tokens - 1]]
        # Cutting may change how the last word is split, and a character may be several tokens: ask again.
        size = len(encode_data(encoder, kept).ids)
        if size <= limit:
            return Cut(kept, len(encoded.ids) - size if is_all else estimate_tokens(encoder, text[len(kept) :]))
    return Cut("", len(encoded.ids) if is_all else estimate_tokens(encoder, text))


def share(lengths: Sequence[int], room: int) -> list[int]:
    """How many tokens each text keeps when all of them have `room` tokens: the longest are cut first, to one length."""
    keep = list(lengths)
    left, waiting = max(room, 0), sorted(range(len(keep)), key=lambda index: lengths[index])
    for place, index in enumerate(waiting):
        keep[index] = min(lengths[index], left // (len(waiting) - place))
        left -= keep[index]
    return keep


def keep_rounds(examples: Sequence[Item], rounds: int, round_size: int, last: bool = False) -> Sequence[Item]:
    """The first `rounds` rounds of examples; the `last` ones."""
    kept = max(rounds, 0) * round_size
    return examples[max(len(examples) - kept, 0) :] if last else examples[:kept]


def count_rounds(examples: Sequence[Item], round_size: int) -> int:
    """How many rounds these examples make; an unfinished one counts."""
    return -(-len(examples) // round_size)


def largest(length: Callable[[int], int], limit: int, below: int) -> int:
    """The largest number under `below` whose length is at most `limit`; 0 where there is none.

    There may be hundreds, and lengths are dear: as they grow about evenly, it is looked for where a straight line says,
    and by halving when that does not find it soon.

    Args:
        length: never less for a larger number.
        limit: the most that it may be.
        below: a number whose length is more.
    """
    most, low, high = 0, length(0), length(below)
    for step in count():
        if below - most < 2 or low > limit:
            break
        share = (limit - low) / (high - low) if step < _GUESSES else 0.5
        number = min(max(most + int((below - most) * share), most + 1), below - 1)
        if (found := length(number)) > limit:
            below, high = number, found
        else:
            most, low = number, found
    return most


def rounds_that_fit(lengths: Iterable[Callable[[int], int]], rounds: int, limit: int | None) -> int:
    """The largest number of rounds, up to `rounds`, with which every row fits in `limit` tokens.

    Args:
        lengths: for each row, a function from the number of rounds to the length of the row's prompt and answer.
        rounds: how many there are.
        limit: tokens; None for no limit.
    """
    if limit is None:
        return rounds
    for length in lengths:
        while rounds and length(rounds) > limit:
            rounds -= 1
        if not rounds:
            break
    return rounds
