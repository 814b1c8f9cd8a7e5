"""TRL's trainer with batches in parts, and logits only for the tokens that predict answers.

Arguments, callbacks, schedulers and checkpoints are TRL's and transformers' own.

Legend: B rows, T tokens, M target tokens, V vocabulary.
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
from sft.protocols import LanguageModel
from sft.training.collators import IGNORED
from sft.training.sampling import LengthSampler
from sft.training.weights import FILE, load_trained


class AnswerTrainer(SFTTrainer):
    """Train on batches of `PartsCollator`, summing the losses of their parts, and on TRL's own batches as TRL does.

    The loss is the mean cross-entropy of the target tokens in an optimiser step, however the step is split.
    """

    control: TrainerControl
    aux_loss_enabled: bool

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write no model card. The run folder has more information."""

    def training_step(self, model: LanguageModel, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Run the forward and backward pass of each part and return their summed loss."""
        if "parts" not in inputs:
            return super().training_step(model, inputs, num_items_in_batch)
        losses = [super(AnswerTrainer, self).training_step(model, part, num_items_in_batch) for part in inputs["parts"]]
        return torch.stack(losses).sum()

    def compute_loss(
        self, model: LanguageModel, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the summed cross-entropy of a part's target tokens, divided by `num_items_in_batch`."""
        if "targets" not in inputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        targets_M = inputs.pop("targets")
        logits_MV = model(**inputs, use_cache=False).logits.flatten(0, -2)
        return cross_entropy(logits_MV.float(), targets_M, reduction="sum") / num_items_in_batch

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: LanguageModel | None = None) -> None:
        """Load adapters from our own file, which has all their weights (see `weights`)."""
        if (Path(resume_from_checkpoint) / FILE).exists():
            load_trained(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Take no step if a resumed training has already ended. The base class checks only after a step."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return the mean loss over the tokens of the validation rows, without dropout."""
        total, count = 0.0, 0
        # The auxiliary loss is a mean over batches, so it would depend on the batch size.
        aux_loss_enabled, self.aux_loss_enabled = self.aux_loss_enabled, False
        with at_rest(self.model), torch.no_grad(), self.compute_loss_context_manager():
            for batch in self.get_eval_dataloader():
                for part in batch.get("parts", [batch]):
                    targets_M = part["targets"] if "targets" in part else part["labels"][:, 1:]
                    count += int((targets_M != IGNORED).sum())
                    unit = torch.ones((), device=targets_M.device)
                    total += float(self.compute_loss(self.model, self._prepare_inputs(part), num_items_in_batch=unit))
            metrics = {"eval_loss": total / count}
            self.log(metrics)
        self.aux_loss_enabled = aux_loss_enabled
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        """Use our sampler for `group_by_length`. That of transformers goes from long to short rows in every epoch."""
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        rows = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(ids) for ids in rows["input_ids"]]
        return LengthSampler(lengths, self.args.train_batch_size * self.args.gradient_accumulation_steps)
