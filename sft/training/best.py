"""Keep the weights with the lowest validation loss, and stop early.

The best weights are kept in memory and in every checkpoint, so that a resumed training has them too. This module does
not know how the loss is computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sft.log import get_logger
from sft.protocols import LanguageModel

FILE = "best.safetensors"  # within a checkpoint

log = get_logger(__name__)


class BestWeights(TrainerCallback):
    """Keep the best trainable weights. Add it before the callback that marks checkpoints as complete.

    Args:
        model: the model whose trainable parameters are kept.
        patience: stop after this many validations in a row without a lower loss; None: never.
        resumed_from: the checkpoint that training resumes from.

    Attributes:
        step: step of the best weights; None before the first validation.
        stopped: whether patience is exhausted.
    """

    def __init__(self, model: LanguageModel, patience: int | None, resumed_from: Path | None) -> None:
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

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **context: Any
    ) -> None:
        """Compare the loss with the lowest so far; NaN is worse than any number."""
        loss = float(context["metrics"]["eval_loss"])
        if loss < self._loss:
            self._loss, self._waited, self.step = loss, 0, state.global_step
            self._weights = {
                name: value.detach().to("cpu", copy=True).contiguous() for name, value in self._trained.items()
            }
        else:
            self._waited += 1
        if self.stopped:
            log.info("Early stopping: the validation loss stopped falling (patience %d)", self._patience)
            control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **context: Any) -> None:
        """Add the best weights to the checkpoint that was just written."""
        if self.step is not None:
            metadata = {"loss": self._loss.hex(), "step": str(self.step), "waited": str(self._waited)}
            save_file(self._weights, Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE, metadata)

    def put_back(self) -> None:
        """Give the model its best weights."""
        if self.step is None:
            return
        log.info("Kept the weights of step %d (validation loss %.4f)", self.step, self._loss)
        for name, value in self._trained.items():
            value.data.copy_(self._weights[name])

    def _read(self, file: Path) -> None:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata()
            self._weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
        self._loss, self._waited = float.fromhex(metadata["loss"]), int(metadata["waited"])
        self.step = int(metadata["step"])
