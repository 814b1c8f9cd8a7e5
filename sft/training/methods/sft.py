"""Supervised fine-tuning on the answers, by TRL's SFTTrainer, with our token ids and masks: nothing is re-tokenised.

The loss is the mean cross-entropy of the answer tokens of a batch. Knows nothing of what the ids mean.

TRL and transformers change the model that they train (its forward, its config, an adapter's dtype on quantised
bases); all of that is put back, so that inference right after training equals inference after a fresh load.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datasets import Dataset
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTConfig, SFTTrainer

from sft import signals
from sft.log import Progress
from sft.model.source import one_line, quiet
from sft.model.tokenizer import padding_id
from sft.training import checkpoints
from sft.training.arguments import refused, sft_config, user_arguments
from sft.training.base import TrainOutcome, TrainRequest
from sft.training.collators import IGNORED, CompletionCollator
from sft.training.resuming import Checkpointing

LARGEST_LOGITS = 2**27  # of one batch, that are made at once: half a GiB, several times in the backward pass

# Where output goes and how a batch is split: trainings that differ in these alone share their checkpoints.
NO_MATTER = re.compile(
    r"output_dir|run_name|report_to|disable_tqdm|log_level.*|logging_.*|push_to_hub.*|hub_.*|project|trackio_.*|save_.*"
    r"|per_device_train_batch_size|gradient_accumulation_steps"
)


def train_sft(request: TrainRequest) -> TrainOutcome:
    """Train the adapter on the answers of the rows, from the newest complete checkpoint in the work folder if there is.

    Raises:
        ConfigError: `trainer_args` that the trainer refuses, or rows longer than their `max_length`.
        SystemExit: a signal asked to leave; a complete checkpoint has been left.
    """
    arguments = sft_config(request)
    dataset = _dataset(request)
    with quiet(), _as_found(request.model):
        trainer = _trainer(request, arguments, dataset)
        if len(trainer.train_dataset) != len(request.rows):
            raise RuntimeError(f"{len(request.rows)} rows were given, {len(trainer.train_dataset)} would be trained on")
        limit = user_arguments(request.config.trainer_args).get("save_total_limit")
        checkpointing = Checkpointing(trainer, _fingerprint(request, arguments), limit)
        trainer.add_callback(checkpointing)
        resumed = checkpointing.resumed_from
        try:
            with signals.checkpointing():
                result = trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
        except ImportError as error:  # an argument wants a package (liger, an optimiser) that is not installed
            raise refused(one_line(error)) from error
    request.model.eval()
    return TrainOutcome(
        steps=result.global_step,
        epochs=float(trainer.state.epoch or 0.0),
        seconds=checkpointing.seconds(),
        train_loss=float(result.training_loss),
        trained_tokens=sum(len(row.completion_ids) for row in request.rows),
        loss_history=tuple(_point(entry) for entry in trainer.state.log_history if "loss" in entry),
        # a resumed state speaks of the batch of before
        per_device_batch=trainer.state.train_batch_size
        if arguments.auto_find_batch_size
        else arguments.per_device_train_batch_size,
        accumulation=arguments.gradient_accumulation_steps,
        resumed_from=checkpointing.resumed_step,
    )


def _dataset(request: TrainRequest) -> Dataset:
    """Ids and labels: the answer's tokens stand, everything before is ignored by the loss."""
    return Dataset.from_dict(
        {
            "input_ids": [row.prompt_ids + row.completion_ids for row in request.rows],
            "labels": [[IGNORED] * len(row.prompt_ids) + row.completion_ids for row in request.rows],
        }
    )


def _trainer(request: TrainRequest, arguments: SFTConfig, dataset: Dataset) -> SFTTrainer:
    tokenizer = copy.deepcopy(request.tokenizer)  # TRL sets a pad token on the one that it is given
    weights = {name: value.data for name, value in request.model.named_parameters() if value.requires_grad}
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process, one device, as Trainer itself sets it for split models
    try:
        trainer = _Trainer(
            model=request.model,
            args=arguments,
            train_dataset=dataset,
            processing_class=tokenizer,
            data_collator=CompletionCollator(padding_id(tokenizer)),
            callbacks=[_Reporter(request.progress)],
        )
    except (TypeError, ValueError, ImportError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "installed" not in str(error):
            raise  # out of memory, or a bug
        raise refused(one_line(error)) from error
    trainer.remove_callback(PrinterCallback)
    # The loss here is TRL's own, over the tokens of the whole batch however it is split; so for every architecture.
    trainer.model_accepts_loss_kwargs = True
    # On quantised bases TRL rounds the adapter to bfloat16, too coarse for small updates. No optimiser exists yet.
    for name, value in request.model.named_parameters():
        if name in weights:
            value.data = weights[name]
    return trainer


def _fingerprint(request: TrainRequest, arguments: SFTConfig) -> str:
    """Of all that decides how the training goes, but for the base's weights (see `TrainRequest.identity`)."""
    rows = hashlib.sha256()
    for row in request.rows:
        rows.update(json.dumps([row.prompt_ids, row.completion_ids]).encode())
    given = {name: value for name, value in arguments.to_dict().items() if not NO_MATTER.fullmatch(name)}
    adapters = {name: config.to_dict() for name, config in request.model.peft_config.items()}
    parts = {
        "identity": request.identity,
        "rows": rows.hexdigest(),
        "batch": arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps,
        "arguments": json.loads(json.dumps(given, default=_spelt)),
        "adapters": json.loads(json.dumps(adapters, default=_spelt)),
    }
    return checkpoints.fingerprint(parts)


def _spelt(value: object) -> object:
    """Something that JSON lacks, spelt the same in every process."""
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)


class _Trainer(SFTTrainer):
    """TRL's trainer without its model card, which would lie beside the checkpoints, and with less work for the head.

    Off CUDA, TRL puts every position through the head, prompts and padding included; here only those that predict an
    answer's token go through it. The loss is the same. Legend: B rows, T tokens, M answer tokens, V vocabulary.
    """

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """The run folder says more."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Cross-entropy of the answers' tokens: their sum over `num_items_in_batch`, else their mean."""
        if return_outputs or not self._scores_answers_alone(inputs["labels"]):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels_BT = inputs.pop("labels")
        predicts_BT = pad(labels_BT[:, 1:] != IGNORED, (0, 1))
        logits_MV = model(**inputs, use_cache=False, logits_to_keep=predicts_BT).logits
        targets_M = labels_BT[:, 1:][predicts_BT[:, :-1]]
        mean = num_items_in_batch is None
        loss = cross_entropy(logits_MV.float(), targets_M, reduction="mean" if mean else "sum")
        return loss if mean else loss / num_items_in_batch

    def _scores_answers_alone(self, labels_BT: Tensor) -> bool:
        """Whether it pays (TRL's own head is as frugal on CUDA, and works in pieces) and means the same."""
        arguments, base = self.args, self.model.get_base_model()
        ordinary = arguments.loss_type == "nll" and not arguments.label_smoothing_factor and not self.aux_loss_enabled
        logits = int((labels_BT != IGNORED).sum()) * base.config.get_text_config().vocab_size
        return (
            labels_BT.device.type != "cuda"
            and arguments.world_size == 1
            and ordinary
            and logits <= LARGEST_LOGITS
            and not self.model.active_peft_config.is_prompt_learning  # there are more positions than labels
            and "logits_to_keep" in inspect.signature(type(base).forward).parameters
        )


@contextmanager
def _as_found(model: Any) -> Iterator[None]:
    """Put back what the trainer changes on the model besides its weights: forwards, configs, checkpointing."""
    base = model.get_base_model()
    forwards = [(owner, vars(owner).get("forward")) for owner in (model, base)]
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
    """One point of the loss curve, without the trainer's other figures."""
    kept = ("step", "epoch", "loss", "learning_rate", "grad_norm")
    return {key: float(entry[key]) for key in kept if key in entry}


class _Reporter(TrainerCallback):
    """Tells our `Progress` of each step, with the latest loss."""

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
