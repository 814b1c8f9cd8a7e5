"""`random`: drawn from the whole pool, without regard to labels: what balance is worth shows against it."""

from __future__ import annotations

from dataclasses import replace

from sft.prompting.examples import Pool
from sft.prompting.selection.balanced import choose_balanced
from sft.prompting.selection.base import Wanted


def choose_at_random(wanted: Wanted) -> list[list[int]]:
    """`total` examples, as many as `balanced` shows, each row of the pool as likely as another.

    Fewer of a seed are the beginning of more.

    Raises:
        DataError: an empty pool.
    """
    # One group that holds all rows is what generation draws from, too: there both ways are the same.
    return choose_balanced(replace(wanted, pool=Pool(wanted.pool.texts), labels=None, count=wanted.total))
