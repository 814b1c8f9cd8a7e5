"""The common prefix of sequences of token ids, characters or segments. Imports nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def common_prefix(sequences: Sequence[Any]) -> int:
    """Return the length of the longest common prefix of strings, lists or tuples of one type, with ordered elements."""
    # All other sequences sort between these two, so they share their prefix.
    least, most = min(sequences), max(sequences)
    differ = (index for index, (a, b) in enumerate(zip(least, most, strict=False)) if a != b)
    return next(differ, min(len(least), len(most)))
