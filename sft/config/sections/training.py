"""The `training` section: the method and the trainer's arguments; and how its batch is split when memory runs out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from sft.config.libraries.renamed import RENAMED
from sft.config.libraries.trainer import DEFAULT_BATCH
from sft.config.sections.base import Count, PositiveCount, Section
from sft.plugins import DEFAULT_METHOD, METHODS

ValidationSize = PositiveCount | Annotated[float, Field(gt=0, lt=1)]


class TrainingConfig(Section):
    """How the shots are trained on."""

    method: str = Field(default=DEFAULT_METHOD, description=f"Training method: {METHODS.described}.")
    icl_examples: Count = Field(
        default=0,
        description="In-context examples in each training prompt, always balanced: per label for classification, else "
        "in total.",
    )
    random_icl: bool = Field(default=False, description="Draw the in-context examples anew for every row.")
    full_finetuning: bool = Field(
        default=False, description="Train all weights of the model, without lora or adapter, and save it whole."
    )
    shared_prefix: bool | None = Field(
        default=None,
        description="Compute what the rows of a batch begin with once, without padding; the result is the same. "
        "Default: where the model allows it and nothing is dropped out; true: with dropout too (one draw for all).",
    )
    max_batch_tokens: PositiveCount | None = Field(
        default=None,
        description="Tokens that go through the model at once: a batch is split so that it fits, its step stays whole.",
    )
    validation_size: ValidationSize | None = Field(
        default=None,
        description="Shots that are not trained on but judge the training by their loss, after every epoch; the best "
        "weights are kept. Per label for classification, else in total; or a share below 1.",
    )
    early_stopping_patience: PositiveCount | None = Field(
        default=None, description="Stop when so many validations in a row have not brought the loss down."
    )
    keep_checkpoints: bool = Field(
        default=False,
        description="Keep the trainer's checkpoints (see save_strategy) in the run folder when the run is done.",
    )
    trainer_args: dict[str, Any] = Field(
        default_factory=dict,
        description="Arguments of the method's trainer (sft: TRL's SFTConfig); renamed ones are translated.",
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
