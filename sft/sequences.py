"""What sequences have in common: token ids, characters or segments. Imports nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def common_prefix(sequences: Sequence[Any]) -> int:
    """Return how many elements all of some strings, lists or tuples begin with: one type, of elements with an order."""
    least, most = min(sequences), max(sequences)  # what these two share, all that sort between them share too
    differ = (index for index, (a, b) in enumerate(zip(least, most, strict=False)) if a != b)
    return next(differ, min(len(least), len(most)))
