"""Which rows of a batch go through the model together: the split that costs least, whatever the loss is.

Rows lie side by side in one sequence, what they begin with once, seeing only their own; or, in a model that cannot be
told who sees whom, below one another, padded to the longest. Since losses are summed over the parts of a batch, no
split changes a result but by rounding. Knows ids alone; arithmetic on whole numbers, so that every run splits alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from sft import sequences

MOST_ROWS = 128  # of a part: looking further would take longer than it saves
# What a forward with its backward takes however short it is, in products of the weights of one layer: measured on a
# CPU with adapters on all linear layers; for a device a guess (the same Python starts it, and it multiplies faster).
_START_ON_CPU, _START_ON_DEVICE = 1.5e7, 1e11
_ATTENTION = 2  # what a product of attention takes compared with one of frozen weights, backward passes included


class Row(NamedTuple):
    """Ids of a row, of which those from `start` on are learnt."""

    ids: Sequence[int]
    start: int


class Part(NamedTuple):
    """Rows that go through the model together, by their places in the batch, and how many ids they share."""

    rows: tuple[int, ...]
    shared: int


class Costs(NamedTuple):
    """What a forward costs beside its tokens, in tokens.

    Args:
        start: the forward itself.
        pair: a token that may attend to another one, masked or not.
    """

    start: float
    pair: float

    @classmethod
    def of(cls, config: Any, on_cpu: bool) -> Costs:
        """Estimate them from the text config of a transformers model."""
        hidden = int(config.hidden_size)
        inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * hidden
        layer = 4 * hidden**2 + 3 * hidden * int(inner if isinstance(inner, int) else max(inner))
        return cls((_START_ON_CPU if on_cpu else _START_ON_DEVICE) / layer, _ATTENTION * 2 * hidden / layer)


@dataclass(frozen=True)
class Splitter:
    """Splits batches.

    Args:
        costs: see `Costs`.
        shares: rows lie side by side, what they begin with once; else below one another, padded.
        most_tokens: how many tokens go through the model at once, padding included; a longer row goes alone.
        most_learnt: how many tokens are learnt at once (each needs logits over the whole vocabulary).
    """

    costs: Costs
    shares: bool
    most_tokens: int | None = None
    most_learnt: int | None = None

    def split(self, rows: Sequence[Row]) -> list[Part]:
        """Every row in exactly one part."""
        if self.shares:
            order = sorted(range(len(rows)), key=lambda place: list(rows[place].ids))  # neighbours begin alike
        else:
            order = sorted(range(len(rows)), key=lambda place: -len(rows[place].ids))
        ordered = [rows[place] for place in order]
        common = [common_prefix(*pair) if self.shares else 0 for pair in pairwise(ordered)]
        best: list[tuple[float, int]] = [(0.0, 0)]  # for the first rows: what they cost, where their last part begins
        for end in range(1, len(rows) + 1):
            ends = self._ending_at(ordered, common, end)
            best.append(min((best[begin][0] + cost, begin) for begin, cost in ends))
        parts, end = [], len(rows)
        while end:
            begin = best[end][1]
            shared = min(common[begin : end - 1], default=0)
            parts.append(Part(tuple(order[begin:end]), shared))
            end = begin
        return parts[::-1]

    def _ending_at(self, rows: Sequence[Row], common: Sequence[int], end: int) -> Iterator[tuple[int, float]]:
        """Where a part that ends before row `end` may begin, and what it would cost."""
        own, learnt, longest = 0, 0, 0
        shared = len(rows[end - 1].ids)
        for begin in range(end - 1, max(-1, end - 1 - MOST_ROWS), -1):
            row = rows[begin]
            own, learnt = own + len(row.ids), learnt + len(row.ids) - row.start
            longest = max(longest, len(row.ids))
            count = end - begin
            if count > 1:
                shared = min(shared, common[begin])
            tokens = own - (count - 1) * shared if self.shares else count * longest
            if count > 1 and (self._too_many(tokens, self.most_tokens) or self._too_many(learnt, self.most_learnt)):
                return
            seen = tokens if self.shares else longest
            yield begin, self.costs.start + tokens * (1 + self.costs.pair * seen)

    @staticmethod
    def _too_many(count: int, most: int | None) -> bool:
        return most is not None and count > most


def common_prefix(one: Row, other: Row) -> int:
    """How many ids two rows begin with, but for the last one before those that are learnt: it predicts the first."""
    return min(one.start - 1, other.start - 1, sequences.common_prefix((one.ids, other.ids)))
