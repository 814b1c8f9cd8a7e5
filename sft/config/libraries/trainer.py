"""The trainer's arguments: what it is given unless `training.trainer_args` says otherwise, and why; what cannot be.

Some would do something else here than what they say, or nothing. Imports nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

DEFAULT_BATCH = 8  # rows of a batch, where the trainer's arguments do not say
FULL_LEARNING_RATE = 2e-5
# Arguments that say where output goes, not what is computed.
OUTPUT_ONLY = re.compile(
    r"output_dir|run_name|report_to|disable_tqdm|log_level.*|logging_.*|push_to_hub.*|hub_.*|project|trackio_.*"
)
# Accepted, since configs of other tools have them; they change nothing.
NO_EFFECT = frozenset({
    "dataset_text_field", "dataset_num_proc", "truncation_mode", "packing_strategy", "eval_packing",
    "remove_unused_columns", "length_column_name", "do_train", "do_eval", "do_predict", "hub_model_id", "hub_token",
    "hub_strategy", "hub_private_repo", "hub_always_push", "hub_revision", "include_for_metrics",
    "greater_is_better", "eval_do_concat_batches", "batch_eval_metrics", "save_only_model",
})  # fmt: skip
# Values that ask for nothing.
_NOTHING = (None, False, "", -1)
_ONE_PROCESS = "each experiment is trained in one process"
_UNSUPPORTED: Mapping[str, str] = {
    "resume_from_checkpoint": "an interrupted run resumes from its own checkpoint by itself; model.adapter names an "
    "adapter that was trained before",
    "push_to_hub": "after the run, export --push-to-hub uploads the adapter",
    "deepspeed": _ONE_PROCESS,
    "fsdp": _ONE_PROCESS,
    "parallelism_config": _ONE_PROCESS,
    "local_rank": _ONE_PROCESS,
    "chat_template_path": "set model.chat_template_from",
    "model_init_kwargs": "set model.model_args",
    "trust_remote_code": "set model.model_args.trust_remote_code",
    "dataset_kwargs": "set dataset.args",
    "pad_to_multiple_of": "batches are padded to their longest row only; remove it",
    "shuffle_dataset": "rows are shuffled in every epoch, seeded by seeds.training; remove it",
    "eos_token": "the chat template decides how an answer ends",
    "pad_token": "padded positions are masked, whatever token they hold; remove it",
}
_CHECKPOINTING = frozenset({"use_reentrant", "preserve_rng_state", "determinism_check", "debug", "early_stop"})


class Default(NamedTuple):
    """A value, and why it is not the trainer's own."""

    value: Any
    why: str


# Everything whose default in TRL or transformers differs from what a few dozen rows and an adapter want.
TUNED: dict[str, Default] = {
    "num_train_epochs": Default(5, "few rows want to be seen more than once"),
    "per_device_train_batch_size": Default(DEFAULT_BATCH, "small batches, so that few rows still make many steps"),
    "learning_rate": Default(
        2e-4, f"adapters stand higher rates than whole models ({FULL_LEARNING_RATE} with full_finetuning)"
    ),
    "lr_scheduler_type": Default("linear", "down to zero at the last step"),
    "warmup_steps": Default(0, "with so few steps, warming up would waste some of them"),
    "weight_decay": Default(0.0, "adapters start at the base already"),
    "max_grad_norm": Default(1.0, "one odd row does no harm"),
    "optim": Default("adamw_torch", "the plain one, the same on every device"),
    "activation_checkpointing": Default(False, "few short rows fit; recomputing would cost a third of the time"),
    "save_strategy": Default("no", "checkpoints are worth their time in long trainings only"),
    "eval_strategy": Default("no", '"epoch" with validation_size'),
}
# What would write, report or draw something nobody asked for, or prepare rows that are ready.
SILENT: dict[str, Any] = {
    "max_length": None,  # prompts were cut to length when they were rendered
    "packing": False,
    "padding_free": False,
    "dataset_kwargs": {"skip_prepare_dataset": True},  # the rows are token ids already
    "report_to": "none",
    "disable_tqdm": True,
    "logging_strategy": "steps",
    "logging_nan_inf_filter": False,  # a loss that is no number must show
}


def trainer_defaults() -> dict[str, Any]:
    """All of them, by argument."""
    return {**{name: default.value for name, default in TUNED.items()}, **SILENT}


def unsupported(args: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Arguments that ask for what is not possible here: their names, and what to do instead."""
    for name, instead in _UNSUPPORTED.items():
        if args.get(name) not in _NOTHING:
            yield name, f"is not supported: {instead}"
    if args.get("completion_only_loss") is False:
        yield "completion_only_loss", "false is not supported: the loss is computed on the answers only"
    for name in ("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"):
        if isinstance(given := args.get(name), dict) and (unknown := sorted(set(given) - _CHECKPOINTING)):
            yield name, f'unknown key "{unknown[0]}" (known: {", ".join(sorted(_CHECKPOINTING))})'


def trainer_contradictions(args: Mapping[str, Any], validates: bool) -> Iterator[str]:
    """What cannot be, one line each.

    Args:
        args: as the user gives them, under their current names.
        validates: whether shots judge the training (`training.validation_size`).
    """
    if args.get("packing") or args.get("padding_free"):
        # Without flash attention some models then attend across rows, silently.
        yield "leave out packing and padding_free: each row is trained on its own"
    if args.get("auto_find_batch_size"):
        # It would go on from the weights of the attempt that failed, with smaller steps.
        yield "leave out auto_find_batch_size: max_batch_tokens bounds what goes through the model at once"
    if args.get("load_best_model_at_end"):
        yield "leave out load_best_model_at_end: with training.validation_size, the best weights are kept"
    if args.get("save_strategy") == "best":
        yield 'save_strategy "best": with training.validation_size, the best weights are kept in any case'
    if args.get("metric_for_best_model") not in (None, "loss", "eval_loss"):
        yield 'metric_for_best_model is "loss": the validation rows are judged by nothing else'
    if validates and args.get("eval_strategy") == "no":
        yield 'eval_strategy "no" leaves training.validation_size without use: leave one of them out'
    if not validates and (args.get("eval_strategy", "no") != "no" or args.get("eval_on_start")):
        yield "eval_strategy and eval_on_start need rows to judge by: set training.validation_size"
