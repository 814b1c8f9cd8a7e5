"""Supervised fine-tuning on the answers with TRL's SFTTrainer, our token ids and our masks. Nothing is tokenised again.

The loss is the mean cross-entropy of the answer tokens of a batch.

TRL and transformers change the model that they train: its forward method, its config, and the dtype of an adapter on a
quantised base. All of that is restored, so that inference right after training equals inference after a fresh load.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTConfig

from sft import signals
from sft.config.checking.arguments import TRAINER_ARGS
from sft.config.libraries.trainer import OUTPUT_ONLY
from sft.foreign import OF_ARGUMENTS, explained
from sft.log import Progress, get_logger
from sft.model.source import quiet
from sft.model.structure import base_of
from sft.protocols import LanguageModel
from sft.training import checkpoints
from sft.training.arguments import sft_config, user_arguments
from sft.training.base import TrainingRow, TrainOutcome, TrainRequest
from sft.training.best import BestWeights
from sft.training.collators import IGNORED
from sft.training.form import Collator, choose_collator
from sft.training.resuming import Checkpointing
from sft.training.trainer import AnswerTrainer

log = get_logger(__name__)

# Trainings that differ only in these arguments, or in the arguments for output, share their checkpoints.
SHARED_BY_CHECKPOINTS = re.compile(r"save_.*|per_device_(train|eval)_batch_size|gradient_accumulation_steps")


def train_sft(request: TrainRequest) -> TrainOutcome:
    """Train the trainable parameters on the answers, resuming from the newest complete checkpoint in the work folder.

    Raises:
        ConfigError: the trainer rejects `trainer_args`, or rows are longer than `max_length`.
        SystemExit: a signal asked to stop, and a complete checkpoint was saved.
    """
    arguments = sft_config(request)
    with quiet(), _restored(request.model):
        trainer = _trainer(request, arguments)
        if len(trainer.train_dataset) != len(request.rows):
            raise RuntimeError(f"expected {len(request.rows)} training rows, got {len(trainer.train_dataset)}")
        limit = user_arguments(request.config.trainer_args).get("save_total_limit")
        checkpointing = Checkpointing(trainer, _fingerprint(request, arguments, trainer.data_collator), limit)
        resumed = checkpointing.resumed_from
        best = BestWeights(request.model, request.config.early_stopping_patience, resumed)
        trainer.add_callback(best)
        trainer.add_callback(checkpointing)
        if best.stopped:  # interrupted after the training ended, before its result was written
            trainer.args.max_steps = checkpointing.resumed_step
        if resumed is not None:
            trainer.args.eval_on_start = False  # already done before the interruption
        with explained(TRAINER_ARGS, of=OF_ARGUMENTS), signals.checkpointing():
            result = trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
        best.put_back()
        if request.validation and best.step is None:
            log.warning("Every validation loss is NaN or infinite; keeping the last weights")
    request.model.eval()
    history = trainer.state.log_history
    return TrainOutcome(
        steps=result.global_step,
        epochs=float(trainer.state.epoch or 0.0),
        seconds=checkpointing.seconds(),
        train_loss=float(result.training_loss),
        trained_tokens=sum(len(row.completion_ids) for row in request.rows),
        loss_history=tuple(_point(entry) for entry in history if "loss" in entry),
        per_device_batch=arguments.per_device_train_batch_size,
        accumulation=arguments.gradient_accumulation_steps,
        resumed_from=checkpointing.resumed_step,
        validation_history=tuple(_validation_point(entry) for entry in history if "eval_loss" in entry),
        best_step=best.step,
    )


def _dataset(rows: Sequence[TrainingRow]) -> Dataset:
    """Return ids and labels. The labels are the answer's ids, and -100 for the prompt, which the loss ignores."""
    return Dataset.from_dict(
        {
            "input_ids": [row.prompt_ids + row.completion_ids for row in rows],
            "labels": [[IGNORED] * len(row.prompt_ids) + row.completion_ids for row in rows],
        }
    )


def _trainer(request: TrainRequest, arguments: SFTConfig) -> AnswerTrainer:
    tokenizer = copy.deepcopy(request.tokenizer)  # TRL sets a pad token on its tokenizer
    weights = {name: value.data for name, value in request.model.named_parameters() if value.requires_grad}
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process, one device, as Trainer itself sets it for split models
    collator = choose_collator(request, arguments)
    # An OSError means a missing file named in an argument, a RuntimeError a package that is not installed.
    with explained(TRAINER_ARGS, of=(*OF_ARGUMENTS, OSError, RuntimeError)):
        trainer = AnswerTrainer(
            model=request.model,
            args=arguments,
            train_dataset=_dataset(request.rows),
            eval_dataset=_dataset(request.validation) if request.validation else None,
            processing_class=tokenizer,
            data_collator=collator,
            callbacks=[_Reporter(request.progress)],
        )
    trainer.remove_callback(PrinterCallback)
    # TRL averages the loss over the tokens of the whole batch, however it is split; so do it for every architecture.
    trainer.model_accepts_loss_kwargs = True
    # On quantised bases TRL rounds the adapter to bfloat16, too coarse for small updates. There is no optimiser yet.
    for name, value in request.model.named_parameters():
        if name in weights:
            value.data = weights[name]
    return trainer


def _fingerprint(request: TrainRequest, arguments: SFTConfig, collator: Collator) -> str:
    """Fingerprint of everything that determines training except the base weights (see `TrainRequest.identity`)."""
    rows = hashlib.sha256()
    for row in (*request.rows, *request.validation):
        rows.update(json.dumps([row.prompt_ids, row.completion_ids]).encode())
    args = {
        name: value
        for name, value in arguments.to_dict().items()
        if not (OUTPUT_ONLY.fullmatch(name) or SHARED_BY_CHECKPOINTS.fullmatch(name))
    }
    adapters = {name: config.to_dict() for name, config in getattr(request.model, "peft_config", {}).items()}
    parts = {
        "identity": request.identity,
        "rows": rows.hexdigest(),
        "form": [type(collator).__name__, getattr(collator, "masks", None) is not None],
        "patience": request.config.early_stopping_patience,
        "learnt": len(request.rows),  # words: fixed name
        "batch": arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps,
        "arguments": json.loads(json.dumps(args, default=_json_value)),
        "adapters": json.loads(json.dumps(adapters, default=_json_value)),
    }
    return checkpoints.fingerprint(parts)


def _json_value(value: object) -> object:
    """Convert a value that JSON lacks, in the same way in every process."""
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)


@contextmanager
def _restored(model: LanguageModel) -> Iterator[None]:
    """Restore what the trainer changes in the model besides its weights: forward methods, configs, checkpointing."""
    base: Any = base_of(model)
    owners: tuple[Any, ...] = (model, base)
    forwards = [(owner, vars(owner).get("forward")) for owner in owners]
    configs = [
        (owner, copy.deepcopy(vars(owner))) for owner in (base.config, base.generation_config) if owner is not None
    ]
    try:
        yield
    finally:
        for owner, forward in forwards:
            vars(owner).pop("forward", None)
            if forward is not None:
                owner.forward = forward
        for owner, values in configs:
            vars(owner).clear()
            vars(owner).update(values)
        if base.is_activation_checkpointing:
            base.activation_checkpointing_disable()
            base.disable_input_require_grads()
        model.zero_grad(set_to_none=True)


def _point(entry: dict[str, Any]) -> dict[str, float]:
    """Return a point of the loss curve, without the trainer's other figures."""
    kept = ("step", "epoch", "loss", "learning_rate", "grad_norm")
    return {key: float(entry[key]) for key in kept if key in entry}


def _validation_point(entry: dict[str, Any]) -> dict[str, float]:
    return {"step": float(entry["step"]), "epoch": float(entry["epoch"]), "loss": float(entry["eval_loss"])}


class _Reporter(TrainerCallback):
    """Report each step to our `Progress`, with the latest loss."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.note = ""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **context: Any
    ) -> None:
        self.progress("train", state.global_step, state.max_steps, self.note)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **context: Any) -> None:
        loss = (context.get("logs") or {}).get("loss")
        if loss is not None:
            self.note = f"loss {float(loss):.2f}"
            self.progress("train", state.global_step, state.max_steps, self.note)
