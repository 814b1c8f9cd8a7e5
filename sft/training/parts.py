"""Split a batch into parts that pass through the model together, at the lowest estimated cost.

Rows are packed into one sequence with their common prefix once, and each row attends only to the prefix and itself. In
a model that does not accept such an attention mask, rows are padded to the longest. Losses are summed over the parts of
a batch, so a split changes a result only by rounding. The split depends only on ids, so every run splits alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from sft import sequences
from sft.protocols import ArchitectureConfig

MAX_ROWS = 128  # in a part: a longer search would take more time than it saves
# Fixed cost of a forward and backward pass, in multiplications by the weights of one layer. Measured on a CPU with
# adapters on all linear layers. A guess for a device, which multiplies faster after the same Python code.
_START_ON_CPU, _START_ON_DEVICE = 1.5e7, 1e11
_ATTENTION = 2  # cost of a multiplication in attention relative to one by frozen weights, backward passes included


class Row(NamedTuple):
    """Ids of a row; those from `start` on are targets."""

    ids: Sequence[int]
    start: int


class Part(NamedTuple):
    """Rows that pass through the model together, by index in the batch, and the length of their shared prefix."""

    rows: tuple[int, ...]
    shared: int


class Costs(NamedTuple):
    """Costs of a forward pass beyond its tokens, in tokens.

    Args:
        start: fixed cost of the pass.
        pair: cost of a pair of tokens in attention, masked or not.
    """

    start: float
    pair: float

    @classmethod
    def of(cls, config: ArchitectureConfig, on_cpu: bool) -> Costs:
        """Estimate the costs from the text config of a transformers model."""
        hidden = int(config.hidden_size)
        inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * hidden
        layer = 4 * hidden**2 + 3 * hidden * int(inner if isinstance(inner, int) else max(inner))
        return cls((_START_ON_CPU if on_cpu else _START_ON_DEVICE) / layer, _ATTENTION * 2 * hidden / layer)


@dataclass(frozen=True)
class Splitter:
    """Split batches.

    Args:
        costs: costs of a forward pass.
        shares: whether rows are packed with their common prefix once; otherwise they are padded.
        most_tokens: maximum tokens in a part, padding included; a longer row is a part of its own.
        most_targets: maximum target tokens in a part (each needs logits over the whole vocabulary).
    """

    costs: Costs
    shares: bool
    most_tokens: int | None = None
    most_targets: int | None = None

    def split(self, rows: Sequence[Row]) -> list[Part]:
        """Return parts that contain every row exactly once."""
        if self.shares:
            order = sorted(range(len(rows)), key=lambda index: list(rows[index].ids))  # neighbours share a prefix
        else:
            order = sorted(range(len(rows)), key=lambda index: -len(rows[index].ids))
        ordered = [rows[index] for index in order]
        common = [common_prefix(*pair) if self.shares else 0 for pair in pairwise(ordered)]
        best: list[tuple[float, int]] = [(0.0, 0)]  # for the first n rows: their cost and the start of their last part
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
        """Yield the possible starts of a part that ends before row `end`, each with the part's cost."""
        own, targets, longest = 0, 0, 0
        shared = len(rows[end - 1].ids)
        for begin in range(end - 1, max(-1, end - 1 - MAX_ROWS), -1):
            row = rows[begin]
            own, targets = own + len(row.ids), targets + len(row.ids) - row.start
            longest = max(longest, len(row.ids))
            count = end - begin
            if count > 1:
                shared = min(shared, common[begin])
            tokens = own - (count - 1) * shared if self.shares else count * longest
            if count > 1 and (self._too_many(tokens, self.most_tokens) or self._too_many(targets, self.most_targets)):
                return
            attended = tokens if self.shares else longest
            yield begin, self.costs.start + tokens * (1 + self.costs.pair * attended)

    @staticmethod
    def _too_many(count: int, most: int | None) -> bool:
        return most is not None and count > most


def common_prefix(left: Row, right: Row) -> int:
    """Return the length of the common prefix. It excludes the last prompt id, which predicts the first target."""
    return min(left.start - 1, right.start - 1, sequences.common_prefix((left.ids, right.ids)))
