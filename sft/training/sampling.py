"""Row order with batches of similar length, drawn again in every epoch. Depends only on the lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

CHUNK = 8  # batches whose rows are sorted together; with more, batches would be nearly the same in every epoch


class LengthSampler(Sampler[int]):
    """Yield all rows once: shuffled, sorted by length within chunks, and the batches of all chunks shuffled.

    It uses torch's global generator. An incomplete batch comes last, so that all others are full.

    Args:
        lengths: number of tokens in each row.
        batch: number of rows per optimiser step.
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
        for index in torch.randperm(len(batches)).tolist():
            yield from batches[index]
        yield from rest
