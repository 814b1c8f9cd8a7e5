"""The `training` section: the method, the trainer's arguments, and the split of a batch when memory runs out."""

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
        description="Number of in-context examples in each training prompt, always balanced: per label for "
        "classification, else in total.",
    )
    random_icl: bool = Field(default=False, description="Draw new in-context examples for every row.")
    full_finetuning: bool = Field(
        default=False, description="Train all weights of the model, without lora or adapter, and save the whole model."
    )
    shared_prefix: bool | None = Field(
        default=None,
        description="Compute the common prefix of a batch's rows once, without padding; the result is the same. "
        "Default: if the model allows it and there is no dropout; true: with dropout too (one mask for all rows).",
    )
    max_batch_tokens: PositiveCount | None = Field(
        default=None,
        description="Maximum tokens per forward pass; larger batches are split and still make one optimiser step.",
    )
    validation_size: ValidationSize | None = Field(
        default=None,
        description="Number of shots held out to measure the loss after every epoch; the best weights are kept. Per "
        "label for classification, else in total; or a fraction below 1.",
    )
    early_stopping_patience: PositiveCount | None = Field(
        default=None, description="Stop after this many validations in a row without a lower loss."
    )
    keep_checkpoints: bool = Field(
        default=False,
        description="Keep the trainer's checkpoints (see save_strategy) in the run folder after the run.",
    )
    trainer_args: dict[str, Any] = Field(
        default_factory=dict,
        description="Arguments of the method's trainer (sft: TRL's SFTConfig); old names are translated.",
    )


class BatchSplit(NamedTuple):
    """The rows of one optimiser step: rows per forward pass, and number of passes."""

    per_device: int
    accumulation: int


def halved_batch(trainer_args: Mapping[str, Any], halvings: int) -> BatchSplit:
    """Return the batch of trainer arguments in smaller parts: each step has the same rows.

    Args:
        trainer_args: as in the config, possibly with old names.
        halvings: how often memory ran out. Each time, the part becomes the largest divisor of the batch that is at most
            half the last part, down to one row.
    """
    args = {RENAMED.get(name, name): value for name, value in trainer_args.items()}
    rows = int(args.get("per_device_train_batch_size", DEFAULT_BATCH))
    original = BatchSplit(rows, int(args.get("gradient_accumulation_steps", 1)))
    if args.get("dataloader_drop_last"):
        return original  # smaller parts would drop other rows
    whole = original.per_device * original.accumulation
    for _ in range(halvings):
        rows = next((part for part in range(rows // 2, 1, -1) if whole % part == 0), 1)
    return BatchSplit(rows, whole // rows)


def most_halvings(trainer_args: Mapping[str, Any]) -> int:
    """Return the number of halvings until the batch no longer changes."""
    halvings = 0
    while halved_batch(trainer_args, halvings + 1) != halved_batch(trainer_args, halvings):
        halvings += 1
    return halvings
