"""`random`: drawn from the whole pool, ignoring labels. A baseline for `balanced`."""

from __future__ import annotations

from dataclasses import replace

from sft.prompting.examples import Pool
from sft.prompting.selection.balanced import choose_balanced
from sft.prompting.selection.base import Wanted


def choose_at_random(wanted: Wanted) -> list[list[int]]:
    """Choose `total` examples, as many as `balanced`; each row of the pool is equally likely.

    Fewer examples are a prefix of more examples with the same seed.

    Raises:
        DataError: an empty pool.
    """
    # A single group with all rows, as in generation: there, `random` and `balanced` are the same.
    return choose_balanced(replace(wanted, pool=Pool(wanted.pool.texts), labels=None, count=wanted.total))
