"""Long texts without encoding them whole: their first tokens, about how many they have, and a short stand-in.

What a text begins with is encoded alike whatever comes much later, so its first tokens are found in a piece of it. How
long that piece must be depends on the tokenizer and the text (a run of digits that is grouped from its end, a word
without end). So pieces of different lengths are encoded, and longer ones until all begin with the same tokens.
Knows nothing of rows or templates.
"""

from __future__ import annotations

import unicodedata
from itertools import chain

from sft.prompting.encode import Encoded, Encoder

WHOLE = 32_768  # characters: texts up to this length are encoded whole, and their tokens counted
_SAMPLE = 4096  # characters that say how many there are to a token
_MARGIN_TOKENS, _MARGIN_CHARACTERS = 64, 512  # between the last token that is used and the end of a piece
# Characters between the ends of the pieces. Primes: what is grouped from the end of a run (digits by threes, a letter
# repeated) is grouped in another way in each.
_STEPS = (307, 809)
_SEARCH = 4096  # characters that are searched for a place to end a piece at
_SAMPLES = 16
_TAIL = 1024  # characters of a text's end that a stand-in keeps
_MARKS_OF_WIDTH = "\uff9e\uff9f"  # become combining marks when normalised


def encode_head(encoder: Encoder, text: str, limit: int, whole: int = WHOLE) -> tuple[Encoded, bool]:
    """Encode as much of a text as its first `limit` tokens need.

    Args:
        encoder: of a tokenizer.
        text: from data.
        limit: how many of the first tokens are those of the whole text, offsets included.
        whole: texts up to this many characters are encoded whole.

    Returns:
        The tokens of the beginning, more than `limit`, or of the whole text; and whether they are of the whole.
    """
    if len(text) <= whole:
        return encode_data(encoder, text), True
    sample = encode_data(encoder, text[: min(_SAMPLE, whole)])
    size = int(min(_SAMPLE, whole) * (limit + _MARGIN_TOKENS) / max(len(sample.ids), 1)) + 2 * _MARGIN_CHARACTERS
    while (end := _boundary(text, size, size // 2)) is not None:
        head = encode_data(encoder, text[:end])
        further = [_boundary(text, end + step, end) for step in _STEPS]
        enough = len(head.ids) > limit + _MARGIN_TOKENS and head.ends[limit] + _MARGIN_CHARACTERS <= end
        if enough and all(
            _first(head, limit) == _first(encode_data(encoder, text[:other]), limit) for other in further
        ):
            return head, False
        size = 2 * max(size, end)
    return encode_data(encoder, text), True


def estimate_tokens(encoder: Encoder, text: str) -> int:
    """About how many tokens a text has, from pieces of it at even distances; exact up to `WHOLE` characters."""
    if len(text) <= WHOLE:
        return len(encode_data(encoder, text).ids)
    size = WHOLE // _SAMPLES
    starts = [number * (len(text) - size) // (_SAMPLES - 1) for number in range(_SAMPLES)]
    tokens = sum(len(encode_data(encoder, text[start : start + size]).ids) for start in starts)
    return round(tokens * len(text) / (size * _SAMPLES))


def stand_in(encoder: Encoder, text: str, limit: int, whole: int = WHOLE) -> str:
    """A short text of more than `limit` tokens with the same beginning and end; a text that is short as it is."""
    if len(text) <= whole:
        return text
    head, is_all = encode_head(encoder, text, limit + _MARGIN_TOKENS, whole)
    if is_all:
        return text
    end = head.ends[limit + _MARGIN_TOKENS]
    return text[:end] + text[max(len(text) - _TAIL, end) :]


def encode_data(encoder: Encoder, text: str) -> Encoded:
    """Encode text from data, alone."""
    return encoder.encode(encoder.data(text))


def _first(encoded: Encoded, limit: int) -> tuple[list[int], list[int]]:
    return encoded.ids[: limit + 1], encoded.ends[: limit + 1]


def _boundary(text: str, near: int, after: int) -> int | None:
    """An index near `near` at which the text can be split without changing how either side is normalised.

    The last one before it, but beyond `after`; else the first one after it. None: there is none before the end.
    """
    if near >= len(text):
        return None
    places = chain(range(near, max(near - _SEARCH, after), -1), range(near + 1, len(text)))
    return next((place for place in places if _is_apart(text[place - 1], text[place])), None)


def _is_apart(left: str, right: str) -> bool:
    """Whether no normaliser joins two characters: the second one opens a character as people see it."""
    if right.isascii():
        # It joins nothing but a carriage return. What is before it may be a sign that joins what follows.
        return left + right != "\r\n" and (left.isascii() or unicodedata.category(left)[0] != "C")
    if unicodedata.category(left)[0] in "MC":
        return False
    code = ord(right)
    joins = (
        0x1100 <= code <= 0x11FF or 0xD7B0 <= code <= 0xD7FF or 0x1F1E6 <= code <= 0x1F1FF or right in _MARKS_OF_WIDTH
    )
    return not joins and unicodedata.category(right)[0] in "LNPS" and unicodedata.category(right) not in ("Sk", "Lm")
