"""The `training` section: the method and the trainer's arguments; and how its batch is split when memory runs out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import Field

from sft.config.base import Count, Section
from sft.config.renamed import RENAMED

DEFAULT_BATCH = 8  # rows that a device takes at once, where the trainer's arguments do not say


class TrainingConfig(Section):
    """How the shots are trained on."""

    method: str = Field(default="sft", description='Training method: a name of our registry or "module:function".')
    icl_examples: Count = Field(
        default=0,
        description="In-context examples in each training prompt, always balanced: per label for classification, else "
        "in total.",
    )
    random_icl: bool = Field(default=False, description="Draw the in-context examples anew for every row.")
    trainer_args: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of TRL's SFTConfig; renamed ones are translated with a notice."
    )


class BatchSplit(NamedTuple):
    """How the rows of one optimiser step reach a device: so many at once, so many times."""

    per_device: int
    accumulation: int


def halved_batch(trainer_args: Mapping[str, Any], halvings: int) -> BatchSplit:
    """The batch of some trainer arguments, given to the device in smaller parts: each step sees the same rows.

    Args:
        trainer_args: as in the config, old names too.
        halvings: how often memory ran out. Each time, the largest part that is at most half the last one and divides
            the whole is taken; one row at a time is the end of it.
    """
    args = {RENAMED.get(name, name): value for name, value in trainer_args.items()}
    rows = int(args.get("per_device_train_batch_size", DEFAULT_BATCH))
    given = BatchSplit(rows, int(args.get("gradient_accumulation_steps", 1)))
    if args.get("dataloader_drop_last"):
        return given  # smaller parts would drop other rows
    whole = given.per_device * given.accumulation
    for _ in range(halvings):
        rows = next((part for part in range(rows // 2, 1, -1) if whole % part == 0), 1)
    return BatchSplit(rows, whole // rows)


def most_halvings(trainer_args: Mapping[str, Any]) -> int:
    """How many halvings still make a difference."""
    halvings = 0
    while halved_batch(trainer_args, halvings + 1) != halved_batch(trainer_args, halvings):
        halvings += 1
    return halvings
