"""Keeps the weights with the lowest loss on the validation rows, and stops when there is nothing more to gain.

They are kept in memory, and in every checkpoint, so that a resumed training knows them too. Knows nothing of how the
loss is computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sft.log import get_logger

FILE = "best.safetensors"  # within a checkpoint

log = get_logger(__name__)


class BestWeights(TrainerCallback):
    """Puts the best trainable weights back when training ends. To be added before what marks checkpoints as complete.

    Args:
        model: its trainable parameters are those that are kept.
        patience: stop after so many validations in a row without a lower loss; None: never.
        resumed_from: the checkpoint that training goes on from.

    Attributes:
        step: of the best weights; None before the first validation.
        stopped: whether patience has run out.
    """

    def __init__(self, model: torch.nn.Module, patience: int | None, resumed_from: Path | None) -> None:
        self._trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self._patience = patience
        self._weights: dict[str, Tensor] = {}
        self._loss, self._waited = float("inf"), 0
        self.step: int | None = None
        if resumed_from is not None and (resumed_from / FILE).exists():
            self._read(resumed_from / FILE)

    @property
    def stopped(self) -> bool:
        return self._patience is not None and self._waited >= self._patience

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **said: Any) -> None:
        """Compare; a loss that is no number is worse than any."""
        loss = float(said["metrics"]["eval_loss"])
        if loss < self._loss:
            self._loss, self._waited, self.step = loss, 0, state.global_step
            self._weights = {
                name: value.detach().to("cpu", copy=True).contiguous() for name, value in self._trained.items()
            }
        else:
            self._waited += 1
        if self.stopped:
            log.info("The loss on validation rows did not fall any more (patience %d): training ends", self._patience)
            control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **context: Any) -> None:
        """Into the checkpoint that was just written."""
        if self.step is not None:
            said = {"loss": self._loss.hex(), "step": str(self.step), "waited": str(self._waited)}
            save_file(self._weights, Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE, metadata=said)

    def put_back(self) -> None:
        """Give the model its best weights."""
        if self.step is None:
            return
        log.info("Kept: the weights after step %d, with a validation loss of %.4f", self.step, self._loss)
        for name, value in self._trained.items():
            value.data.copy_(self._weights[name])

    def _read(self, file: Path) -> None:
        with safe_open(file, framework="pt") as held:
            said = held.metadata()
            self._weights = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118 - no mapping
        self._loss, self.step, self._waited = float.fromhex(said["loss"]), int(said["step"]), int(said["waited"])
