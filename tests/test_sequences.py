"""Length of the longest common prefix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from sft.sequences import common_prefix


@pytest.mark.parametrize(
    ("sequences", "count"),
    [
        ([[1, 2, 3], [1, 2, 4], [1, 2]], 2),
        ([[1, 2], [1, 2]], 2),
        ([[1, 2]], 2),
        ([[1, 5, 9], [1, 7, 9], [2, 5, 9]], 0),
        ([[], [1]], 0),
        ([(3, 1), (3, 1, 0)], 2),
        (["straw", "strawberry", "strand"], 4),
    ],
)
def test_the_prefix_of_all(sequences: Sequence[Sequence[Any]], count: int) -> None:
    assert common_prefix(sequences) == count
    assert common_prefix(sequences[::-1]) == count
