"""Long texts without encoding them whole: their first tokens, an estimate of their length, a short substitute.

Text far behind a prefix does not change the prefix's tokens, so encoding a piece of the text gives its first tokens.
How long the piece must be depends on the tokenizer and the text (a run of digits that is grouped from its end, an
endless word). So pieces of different lengths are encoded, and longer ones until all start with the same tokens. This
module uses no rows or templates.
"""

from __future__ import annotations

import unicodedata
from itertools import chain

from sft.prompting.encoding.encode import Encoded, Encoder

WHOLE = 32_768  # characters: texts up to this length are encoded whole, with exact token counts
_SAMPLE = 4096  # characters to estimate the characters per token from
_MARGIN_TOKENS, _MARGIN_CHARACTERS = 64, 512  # between the last used token and the end of a piece
# Characters between the ends of the pieces. They are primes, so that runs that are grouped from their end (digits by
# threes, a repeated letter) are grouped differently in each piece.
_STEPS = (307, 809)
_SEARCH = 4096  # characters to search for a boundary to end a piece at
_SAMPLES = 16
_TAIL = 1024  # characters of a text's end that a substitute keeps
_MARKS_OF_WIDTH = "\uff9e\uff9f"  # become combining marks by normalisation


def encode_head(encoder: Encoder, text: str, limit: int, whole: int = WHOLE) -> tuple[Encoded, bool]:
    """Encode enough of a text to get its first `limit` tokens.

    Args:
        encoder: encoder of a tokenizer.
        text: text from data.
        limit: number of first tokens that must equal those of the whole text, offsets included.
        whole: texts up to this many characters are encoded whole.

    Returns:
        The tokens of a prefix (more than `limit`) or of the whole text, and whether they are of the whole text.
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
    """Estimate the number of tokens of a text from evenly spaced pieces; exact up to `WHOLE` characters."""
    if len(text) <= WHOLE:
        return len(encode_data(encoder, text).ids)
    size = WHOLE // _SAMPLES
    starts = [number * (len(text) - size) // (_SAMPLES - 1) for number in range(_SAMPLES)]
    tokens = sum(len(encode_data(encoder, text[start : start + size]).ids) for start in starts)
    return round(tokens * len(text) / (size * _SAMPLES))


def substitute(encoder: Encoder, text: str, limit: int, whole: int = WHOLE) -> str:
    """Return a shorter text of more than `limit` tokens with the same start and end; a short text is unchanged."""
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
    """Return an index near `near` at which the text can be split without changing how either side is normalised.

    This is the last such index up to `near` but beyond `after`, else the first one after `near`; None if there is none.
    """
    if near >= len(text):
        return None
    candidates = chain(range(near, max(near - _SEARCH, after), -1), range(near + 1, len(text)))
    return next((index for index in candidates if _is_apart(text[index - 1], text[index])), None)


def _is_apart(left: str, right: str) -> bool:
    """Whether no normaliser joins two characters: the second one starts a new grapheme."""
    if right.isascii():
        # ASCII joins only with a carriage return. The character before it may join what follows.
        return left + right != "\r\n" and (left.isascii() or unicodedata.category(left)[0] != "C")
    if unicodedata.category(left)[0] in "MC":
        return False
    code = ord(right)
    joins = (
        0x1100 <= code <= 0x11FF or 0xD7B0 <= code <= 0xD7FF or 0x1F1E6 <= code <= 0x1F1FF or right in _MARKS_OF_WIDTH
    )
    return not joins and unicodedata.category(right)[0] in "LNPS" and unicodedata.category(right) not in ("Sk", "Lm")
