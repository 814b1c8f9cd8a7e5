"""Input and output of a training method, and its lookup by name.

Rows arrive as token ids with the answer separate, so the loss mask is known and need not be searched for. A method is a
function `(TrainRequest) -> TrainOutcome` that changes the model's trainable parameters in place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sft.config.sections.training import TrainingConfig
from sft.errors import DataError, ModelError
from sft.log import Progress, silent
from sft.model.source import quiet
from sft.plugins import METHODS
from sft.protocols import LanguageModel, Tokenizer


@dataclass(frozen=True)
class TrainingRow:
    """A prompt, its completions, and the labels that some methods also need.

    Attributes:
        prompt_ids: ids of the prompt.
        completion_ids: ids of the answer and its end of turn; for a preference pair, of the chosen answer.
        rejected_ids: ids of the rejected answer of a preference pair, else None.
        label: class of the row for a classification head; 1 or 0 for a desirable or undesirable answer; else None.
        forget: whether an unlearning method is to forget the row.
        weight: weight of the row in the loss.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    rejected_ids: list[int] | None = None
    label: int | None = None
    forget: bool = False
    weight: float = 1.0

    @property
    def completions(self) -> tuple[list[int], ...]:
        """Return all completions of the prompt."""
        return (self.completion_ids,) if self.rejected_ids is None else (self.completion_ids, self.rejected_ids)

    def __len__(self) -> int:
        return len(self.prompt_ids) + max(map(len, self.completions))


@dataclass(frozen=True)
class TrainRequest:
    """Input of a training method.

    Args:
        model: the base model with a trainable adapter, or a model of which all weights are trained.
        tokenizer: only its padding id is used; it is never changed.
        rows: rows to train on.
        config: the `training` section.
        work_dir: folder for intermediate checkpoints; the caller saves the final adapter.
        seed: seed of the row order and of dropout.
        progress: called after each step.
        validation: rows to evaluate the training on, not to train on (see `training.validation_size`).
        identity: fingerprint of everything else that determines the result (base model, data, other seeds).
            Checkpoints in `work_dir` with another identity are not resumed from.
    """

    model: LanguageModel
    tokenizer: Tokenizer
    rows: Sequence[TrainingRow]
    config: TrainingConfig
    work_dir: Path
    seed: int
    progress: Progress = silent
    identity: str = ""
    validation: Sequence[TrainingRow] = ()


@dataclass(frozen=True)
class TrainOutcome:
    """Result of a training.

    Attributes:
        steps: number of optimiser steps.
        epochs: number of passes over the rows.
        seconds: wall time of the steps.
        train_loss: mean loss over all steps.
        trained_tokens: number of tokens in the loss in one pass.
        loss_history: `{"step", "epoch", "loss", "learning_rate", "grad_norm"}` of each logged step, in order.
        per_device_batch: rows per batch on the device.
        accumulation: such batches per optimiser step.
        resumed_from: step of the checkpoint that this process resumed from; the figures above cover all steps.
        validation_history: `{"step", "epoch", "loss"}` of each validation, in order.
        best_step: the step with the lowest validation loss, whose weights were kept; None: the last step.
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
    """A training method: updates `request.model`'s trainable parameters in place."""

    def __call__(self, request: TrainRequest) -> TrainOutcome: ...


def train(request: TrainRequest) -> TrainOutcome:
    """Train with the method named in the config.

    Raises:
        DataError: no rows, or a row without a target token.
        ModelError: ids beyond the model's vocabulary, or a loss that is not finite.
        UserError: an unknown method.
    """
    with quiet():  # libraries that are imported only now
        method: Method = METHODS.resolve(request.config.method)
    _check_rows(request)
    outcome = method(request)
    for entry in outcome.loss_history:
        if not math.isfinite(entry["loss"]):
            raise ModelError(
                f"training diverged: the loss is {_in_words(entry['loss'])} at step {entry['step']:.0f}; "
                "lower training.trainer_args.learning_rate"
            )
    return outcome


def _in_words(loss: float) -> str:
    return "NaN" if math.isnan(loss) else "infinite"


def _check_rows(request: TrainRequest) -> None:
    """Raise for rows that libraries would drop silently or fail on with an unclear error."""
    if not request.rows:
        raise DataError("expected at least one row to train on, got none")
    _check_split(request, request.rows, "training")
    _check_split(request, request.validation, "validation")


def _check_split(request: TrainRequest, rows: Sequence[TrainingRow], kind: str) -> None:
    pairs = METHODS.spec(request.config.method).rows == "preference"
    if unpaired := [index for index, row in enumerate(rows) if pairs and row.rejected_ids is None]:
        reason = f'"{request.config.method}" compares two answers'
        raise DataError(f"{kind} row {unpaired[0]} has no rejected answer ({len(unpaired)} such rows): {reason}")
    if empty := [index for index, row in enumerate(rows) if not all(row.completions)]:
        raise DataError(f"{kind} row {empty[0]} has no target token ({len(empty)} such rows): its answer is empty")
    if bare := [index for index, row in enumerate(rows) if not row.prompt_ids]:
        raise DataError(f"{kind} row {bare[0]} has no prompt ({len(bare)} such rows): its first token has no context")
    size = request.model.get_input_embeddings().weight.shape[0]
    largest = max((max(row.prompt_ids + ids) for row in rows for ids in row.completions), default=0)
    if largest >= size:
        raise ModelError(f"the tokenizer does not match the model: it has id {largest}, the model {size} embeddings")
