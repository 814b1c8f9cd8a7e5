"""Let a transformers Trainer write verified checkpoints, stop early, and resume with bit-identical results.

The marker of a checkpoint keeps what the Trainer's own files lack: the loss summed since the last log line and the
order of the epoch's rows. Active adapters are restored too: the Trainer would activate a single one on resuming, and a
held start would be lost.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINING_ARGS_NAME

from sft import signals
from sft.log import get_logger
from sft.protocols import LanguageModel
from sft.training import checkpoints
from sft.training.weights import save_trained

log = get_logger(__name__)


class Checkpointing(TrainerCallback):
    """Mark checkpoints as complete, save one when a signal asks to stop, and restore the state when resuming.

    Add it to the trainer after all other callbacks.

    Args:
        trainer: the trainer, not yet run.
        work: fingerprint of the training (see `checkpoints.fingerprint`).
        limit: number of checkpoints to keep; None or 0: all. The trainer itself must not remove any: it would do so
            before the new checkpoint is complete.

    Attributes:
        resumed_from: the checkpoint to pass to `trainer.train`; None: train from the start.
    """

    def __init__(self, trainer: Trainer, work: str, limit: int | None) -> None:
        self._trainer, self._work, self._limit = trainer, work, limit
        self._folder = Path(trainer.args.output_dir)
        self._begun = time.perf_counter()
        self._saved_step = -1
        self._epoch_rng = torch.get_rng_state()
        self._initial_activity = _activity(trainer.model)
        self.resumed_from = checkpoints.newest_complete(self._folder, work)
        marker = None if self.resumed_from is None else checkpoints.read_marker(self.resumed_from)
        self.resumed_step = marker.step if marker is not None else None
        self._state: Mapping[str, Any] | None = marker.state if marker is not None else None

    def seconds(self) -> float:
        """Return the wall time of the training so far, including the time before it was resumed."""
        return float((self._state or {}).get("seconds", 0.0)) + time.perf_counter() - self._begun

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **context: Any
    ) -> None:
        """Restore the state that the trainer's own checkpoint lacks."""
        self._begun = time.perf_counter()
        if self._state is None:
            return
        log.info("Resuming from step %d of %d", state.global_step, state.max_steps)
        _restore_activity(self._trainer.model, *self._initial_activity)
        sums = self._state["loss"]
        self._trainer._tr_loss.fill_(float.fromhex(sums["since_log"]))
        self._trainer._total_loss_scalar = float.fromhex(sums["logged"])
        self._trainer._globalstep_last_logged = int(sums["logged_step"])
        self._trainer._initial_global_step = 0  # the mean loss is over all steps

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **context: Any
    ) -> None:
        """Restore the global generator, from which some samplers draw the row order of an epoch."""
        if self._state is not None and state.global_step == self.resumed_step:
            rng_state = bytearray(base64.b64decode(self._state["epoch_rng"]))
            torch.set_rng_state(torch.frombuffer(rng_state, dtype=torch.uint8))
        self._epoch_rng = torch.get_rng_state()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **context: Any
    ) -> None:
        """Stop after this step if a signal asks for it."""
        if signals.requested() is not None:
            control.should_save = control.should_training_stop = True
        self._begin(state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **context: Any
    ) -> None:
        """Save at the end of an epoch where needed. The trainer also calls this when it stops in mid-epoch."""
        if not _epoch_is_whole(state) and state.global_step < state.max_steps:
            if signals.requested() is not None:
                control.should_log = control.should_save = control.should_evaluate = False
        elif signals.requested() is not None or (
            (control.should_log or control.should_evaluate) and self._saved_step == state.global_step
        ):
            control.should_save = True  # again, with the logs and evaluations of the epoch's end
        self._begin(state, control)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **context: Any
    ) -> None:
        """Save if a signal arrived during the evaluation."""
        if signals.requested() is not None:
            control.should_save = True
            self._begin(state, control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **context: Any) -> None:
        """Mark the written checkpoint as complete, then remove older ones."""
        self._saved_step = state.global_step
        epoch_rng = torch.get_rng_state() if _epoch_is_whole(state) else self._epoch_rng
        extra = {
            "max_steps": state.max_steps,
            "seconds": self.seconds(),
            "epoch_rng": base64.b64encode(epoch_rng.numpy().tobytes()).decode("ascii"),
            "loss": {
                "since_log": self._trainer._tr_loss.item().hex(),
                "logged": float(self._trainer._total_loss_scalar).hex(),
                "logged_step": self._trainer._globalstep_last_logged,
            },
        }
        checkpoint = self._checkpoint(state)
        # a pickle that is never read and contains tokens of the user
        (checkpoint / TRAINING_ARGS_NAME).unlink(missing_ok=True)
        if hasattr(self._trainer.model, "peft_config"):
            save_trained(self._trainer.model, checkpoint)
        checkpoints.complete(checkpoint, state.global_step, self._work, extra)
        if self._limit:
            checkpoints.remove_older(self._folder, self._limit)

    def _begin(self, state: TrainerState, control: TrainerControl) -> None:
        if control.should_save:
            checkpoints.begin(self._checkpoint(state))

    def _checkpoint(self, state: TrainerState) -> Path:
        return self._folder / f"checkpoint-{state.global_step}"


def _epoch_is_whole(state: TrainerState) -> bool:
    return float(state.epoch or 0.0).is_integer()


def _activity(model: LanguageModel) -> tuple[list[str], dict[str, bool]]:
    """Return the active adapters, and whether each parameter is trained."""
    adapted: Any = model
    active = list(adapted.active_adapters) if hasattr(model, "peft_config") else []
    return active, {name: value.requires_grad for name, value in model.named_parameters()}


def _restore_activity(model: LanguageModel, active: list[str], trained: Mapping[str, bool]) -> None:
    adapted: Any = model
    if active and list(adapted.active_adapters) != active:
        adapted.base_model.set_adapter(active)
    for name, value in model.named_parameters():
        value.requires_grad_(trained[name])
