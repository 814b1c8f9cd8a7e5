"""The order of the rows: batches of about equally long rows, still drawn anew in every epoch. Knows lengths alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

CHUNK = 8  # batches whose rows are sorted together: of more, each epoch's batches would hold nearly the same rows


class LengthSampler(Sampler[int]):
    """All rows once: shuffled, sorted by length within chunks, and the batches of all chunks shuffled.

    Draws from torch's global generator. An incomplete batch comes last, so that all others stay whole.

    Args:
        lengths: tokens of each row.
        batch: rows of an optimiser step.
    """

    def __init__(self, lengths: Sequence[int], batch: int) -> None:
        self._lengths, self._batch = lengths, batch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        shuffled = torch.randperm(len(self._lengths)).tolist()
        size = CHUNK * self._batch
        chunks = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
        in_order = [row for chunk in chunks for row in sorted(chunk, key=lambda row: -self._lengths[row])]
        batches = [in_order[start : start + self._batch] for start in range(0, len(in_order), self._batch)]
        rest = batches.pop() if len(batches[-1]) < self._batch else []
        for place in torch.randperm(len(batches)).tolist():
            yield from batches[place]
        yield from rest
