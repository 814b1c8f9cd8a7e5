"""TRL's trainer as we use it: batches come in parts, and the head works on what predicts answers alone.

Its arguments, callbacks, schedulers and checkpoints are TRL's and transformers' own. Knows nothing of what ids mean.

Legend: B rows, T tokens, M tokens that are learnt, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import Sampler
from transformers import TrainerControl
from trl import SFTTrainer

from sft.modes import at_rest
from sft.training.collators import IGNORED
from sft.training.sampling import LengthSampler
from sft.training.weights import FILE, load_trained


class AnswerTrainer(SFTTrainer):
    """Trains on batches of `PartsCollator`, whose loss is the sum of their parts', and on TRL's own ones its way.

    The loss is the mean cross-entropy of the tokens learnt in an optimiser step, however the step is split.
    """

    control: TrainerControl
    aux_loss_enabled: bool

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: it would lie beside the checkpoints, and the run folder says more."""

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of each part; their summed loss."""
        if "parts" not in inputs:
            return super().training_step(model, inputs, num_items_in_batch)
        losses = [super(AnswerTrainer, self).training_step(model, part, num_items_in_batch) for part in inputs["parts"]]
        return torch.stack(losses).sum()

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Cross-entropy of the learnt tokens of a part, summed, over `num_items_in_batch`."""
        if "targets" not in inputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        targets_M = inputs.pop("targets")
        logits_MV = model(**inputs, use_cache=False).logits.flatten(0, -2)
        return cross_entropy(logits_MV.float(), targets_M, reduction="sum") / num_items_in_batch

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Of adapters we keep every number ourselves (see `weights`)."""
        if (Path(resume_from_checkpoint) / FILE).exists():
            load_trained(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _run_epoch(self, *given: Any, **named: Any) -> None:
        """Not one step more where a resumed training had come to its end: the trainer looks only after a step."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*given, **named)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The loss of the validation rows: the mean over their tokens, without dropout."""
        total, count = 0.0, 0
        aux_loss_enabled, self.aux_loss_enabled = (
            self.aux_loss_enabled,
            False,
        )  # a mean over batches, whatever their size
        with at_rest(self.model), torch.no_grad(), self.compute_loss_context_manager():
            for batch in self.get_eval_dataloader():
                for part in batch.get("parts", [batch]):
                    learnt_M = part["targets"] if "targets" in part else part["labels"][:, 1:]
                    count += int((learnt_M != IGNORED).sum())
                    one = torch.ones((), device=learnt_M.device)
                    total += float(self.compute_loss(self.model, self._prepare_inputs(part), num_items_in_batch=one))
            metrics = {"eval_loss": total / count}
            self.log(metrics)
        self.aux_loss_enabled = aux_loss_enabled
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        """For `group_by_length` ours: transformers' goes from the longest rows to the shortest in each epoch."""
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        rows = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(ids) for ids in rows["input_ids"]]
        return LengthSampler(lengths, self.args.train_batch_size * self.args.gradient_accumulation_steps)
