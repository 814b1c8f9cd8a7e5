"""What a training method is given, what it gives back, and how one is found by its name.

Rows arrive as token ids with the answer apart, so the loss mask is known and never searched for. A method is a
function `(TrainRequest) -> TrainOutcome` that changes the model's trainable parameters in place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sft.config.sections.training import TrainingConfig
from sft.errors import DataError, ModelError
from sft.log import Progress, silent
from sft.model.source import quiet
from sft.plugins import METHODS

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class TrainingRow:
    """A prompt, its completions, and what some methods need beside them.

    Attributes:
        prompt_ids: ids of the prompt.
        completion_ids: ids of the answer and its end of turn; of a preference pair the chosen one.
        rejected_ids: ids of the rejected answer of a preference pair; else None.
        label: class of the row for a classification head; 1 or 0 for a desirable answer or not; else None.
        forget: whether an unlearning method is to forget the row.
        weight: of the row in the loss.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    rejected_ids: list[int] | None = None
    label: int | None = None
    forget: bool = False
    weight: float = 1.0

    @property
    def completions(self) -> tuple[list[int], ...]:
        """All completions of the prompt."""
        return (self.completion_ids,) if self.rejected_ids is None else (self.completion_ids, self.rejected_ids)

    def __len__(self) -> int:
        return len(self.prompt_ids) + max(map(len, self.completions))


@dataclass(frozen=True)
class TrainRequest:
    """Everything a method needs.

    Args:
        model: the base with a trainable adapter, or a model of which all weights are trained.
        tokenizer: only its padding id matters; it is never changed.
        rows: what to learn from.
        config: the `training` section.
        work_dir: where intermediate checkpoints may lie; the final adapter is saved by the caller.
        seed: order of the rows and dropout.
        progress: told of each step.
        validation: rows to judge the training by, not to learn from (see `training.validation_size`).
        identity: one word for what else decides the result (base, data, other seeds): checkpoints in `work_dir` of
            another one are not resumed from.
    """

    model: PeftModel | PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    rows: Sequence[TrainingRow]
    config: TrainingConfig
    work_dir: Path
    seed: int
    progress: Progress = silent
    identity: str = ""
    validation: Sequence[TrainingRow] = ()


@dataclass(frozen=True)
class TrainOutcome:
    """What training did.

    Attributes:
        steps: optimiser steps taken.
        epochs: passes over the rows.
        seconds: wall time of the steps.
        train_loss: mean loss over all steps.
        trained_tokens: tokens under the loss in one pass.
        loss_history: `{"step", "epoch", "loss", "learning_rate", "grad_norm"}`, in order.
        per_device_batch: rows that the device took at once.
        accumulation: how many such parts made a step.
        resumed_from: the step of the checkpoint that this process went on from; what is said above is of all steps.
        validation_history: `{"step", "epoch", "loss"}` of each validation, in order.
        best_step: the step whose weights were kept, as the loss of the validation was lowest then; None: the last one.
    """

    steps: int
    epochs: float
    seconds: float
    train_loss: float
    trained_tokens: int
    loss_history: tuple[dict[str, float], ...]
    per_device_batch: int | None = None
    accumulation: int | None = None
    resumed_from: int | None = None
    validation_history: tuple[dict[str, float], ...] = ()
    best_step: int | None = None


class Method(Protocol):
    """A training method: changes `request.model`'s trainable parameters in place."""

    def __call__(self, request: TrainRequest) -> TrainOutcome: ...


def train(request: TrainRequest) -> TrainOutcome:
    """Train with the method that the config names.

    Raises:
        DataError: no rows, or a row without a token to learn.
        ModelError: ids beyond the model's vocabulary, or a loss that is no longer a number.
        UserError: an unknown method.
    """
    with quiet():  # libraries that are imported only now
        method: Method = METHODS.resolve(request.config.method)
    _check_rows(request)
    outcome = method(request)
    for entry in outcome.loss_history:
        if not math.isfinite(entry["loss"]):
            raise ModelError(
                f"training went astray: the loss is {entry['loss']} at step {entry['step']:.0f}; "
                "lower training.trainer_args.learning_rate"
            )
    return outcome


def _check_rows(request: TrainRequest) -> None:
    """Libraries drop such rows in silence, or fail deep inside; here each has its line."""
    if not request.rows:
        raise DataError("there are no rows to train on")
    _check_some(request, request.rows, "training")
    _check_some(request, request.validation, "validation")


def _check_some(request: TrainRequest, rows: Sequence[TrainingRow], kind: str) -> None:
    pairs = METHODS.spec(request.config.method).rows == "preference"
    if alone := [index for index, row in enumerate(rows) if pairs and row.rejected_ids is None]:
        what = f'"{request.config.method}" compares two'
        raise DataError(f"{kind} row {alone[0]} has no rejected answer ({len(alone)} such rows): {what}")
    if bare := [index for index, row in enumerate(rows) if not all(row.completions)]:
        raise DataError(f"{kind} row {bare[0]} has no token to learn ({len(bare)} such rows): its answer is empty")
    if lone := [index for index, row in enumerate(rows) if not row.prompt_ids]:
        raise DataError(f"{kind} row {lone[0]} has no prompt ({len(lone)} such rows): its first token has no context")
    size = request.model.get_input_embeddings().weight.shape[0]
    largest = max((max(row.prompt_ids + ids) for row in rows for ids in row.completions), default=0)
    if largest >= size:
        raise ModelError(f"the tokenizer does not fit the model: id {largest}, but only {size} embeddings")
