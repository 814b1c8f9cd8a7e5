"""Batches of rows of similar length: all rows once, little padding, another order in every epoch."""

from __future__ import annotations

import random

import torch

from sft.training.sampling import CHUNK, LengthSampler

DRAW = random.Random(1)  # noqa: S311
LENGTHS = [DRAW.randint(10, 90) for _ in range(8 * CHUNK * 3 + 5)]


def batches(order: list[int]) -> list[list[int]]:
    return [order[start : start + 8] for start in range(0, len(order), 8)]


def padding(order: list[int]) -> int:
    return sum(
        max(LENGTHS[row] for row in batch) * len(batch) - sum(LENGTHS[row] for row in batch) for batch in batches(order)
    )


def test_every_row_once_with_little_padding() -> None:
    torch.manual_seed(0)
    sampler = LengthSampler(LENGTHS, 8)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(len(LENGTHS))) and len(sampler) == len(LENGTHS)
    assert padding(first) < padding(list(range(len(LENGTHS)))) / 4
    longest = [max(LENGTHS[row] for row in batch) for batch in batches(first)]
    assert longest != sorted(longest, reverse=True)  # batches themselves come in any order
    assert {frozenset(batch) for batch in batches(first)} != {frozenset(batch) for batch in batches(second)}
    torch.manual_seed(0)
    assert list(LengthSampler(LENGTHS, 8)) == first


def test_fewer_rows_than_a_batch() -> None:
    assert sorted(LengthSampler([3, 1, 2], 8)) == [0, 1, 2]
