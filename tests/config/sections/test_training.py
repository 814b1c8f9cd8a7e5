"""The split of a batch when memory runs out: each step has the same rows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from sft.config.sections.training import halved_batch, most_halvings


@pytest.mark.parametrize(
    ("args", "splits"),
    [
        ({}, [(8, 1), (4, 2), (2, 4), (1, 8), (1, 8)]),
        ({"per_gpu_train_batch_size": 6}, [(6, 1), (3, 2), (1, 6)]),
        ({"per_device_train_batch_size": 5, "gradient_accumulation_steps": 2}, [(5, 2), (2, 5), (1, 10)]),
        ({"per_device_train_batch_size": 9, "gradient_accumulation_steps": 4}, [(9, 4), (4, 9), (2, 18), (1, 36)]),
        ({"per_device_train_batch_size": 7}, [(7, 1), (1, 7)]),
        ({"per_device_train_batch_size": 1, "gradient_accumulation_steps": 3}, [(1, 3), (1, 3)]),
        ({"dataloader_drop_last": True}, [(8, 1), (8, 1)]),  # a step could not have the same rows
    ],
)
def test_smaller_parts_have_the_same_total(args: dict[str, Any], splits: list[tuple[int, int]]) -> None:
    assert [tuple(halved_batch(args, halvings)) for halvings in range(len(splits))] == splits


@pytest.mark.parametrize("rows", range(1, 70))
@pytest.mark.parametrize("accumulation", [1, 2, 3, 5])
def test_every_halving_halves_down_to_one_row(rows: int, accumulation: int) -> None:
    args = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": accumulation}
    most = most_halvings(args)
    splits = [halved_batch(args, halvings) for halvings in range(most + 2)]
    assert all(split.per_device * split.accumulation == rows * accumulation for split in splits)
    assert all(after.per_device <= before.per_device / 2 for before, after in pairwise(splits[:-1]))
    assert splits[most] == splits[most + 1] and splits[most].per_device == 1


def test_patience_requires_validation_rows() -> None:
    from sft.config.checking.checks import config_problems

    problems = [
        problem
        for training in ({"early_stopping_patience": 2}, {"early_stopping_patience": 2, "validation_size": 0.2})
        for problem in config_problems({"training": training})
    ]
    assert [problem.where for problem in problems] == ["training.early_stopping_patience"]
