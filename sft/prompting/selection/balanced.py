"""`balanced`: equally many examples of each label, drawn in rounds (see `sft.prompting.examples`)."""

from __future__ import annotations

from sft.prompting.examples import choose_fixed, choose_for_row, rounds_for_rows
from sft.prompting.selection.base import Wanted


def choose_balanced(wanted: Wanted) -> list[list[int]]:
    """Choose `count` rounds of one example of each label; for generation, a round is one example.

    Fewer rounds are a prefix of more rounds with the same seed.

    Raises:
        DataError: a label has no example.
    """
    pool, count, seed, labels = wanted.pool, wanted.count, wanted.seed, wanted.labels
    if not wanted.per_row:
        return [choose_fixed(pool, count, seed, labels, exclude=wanted.asked).indices]
    rounds = rounds_for_rows(pool, count, labels)
    return [choose_for_row(pool, rounds, seed, row, text, labels).indices for row, text in enumerate(wanted.asked)]
