"""The trainer's arguments: the defaults of this tool with their reasons, and the arguments that are not supported.

Imports nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

DEFAULT_BATCH = 8  # rows per batch
FULL_LEARNING_RATE = 2e-5
# Arguments that change the output's location or format, not the results.
OUTPUT_ONLY = re.compile(
    r"output_dir|run_name|report_to|disable_tqdm|log_level.*|logging_.*|push_to_hub.*|hub_.*|project|trackio_.*"
)
# Accepted because configs of other tools have them; they change nothing.
NO_EFFECT = frozenset({
    "dataset_text_field", "dataset_num_proc", "truncation_mode", "packing_strategy", "eval_packing",
    "remove_unused_columns", "length_column_name", "do_train", "do_eval", "do_predict", "hub_model_id", "hub_token",
    "hub_strategy", "hub_private_repo", "hub_always_push", "hub_revision", "include_for_metrics",
    "greater_is_better", "eval_do_concat_batches", "batch_eval_metrics", "save_only_model",
})  # fmt: skip
# Values that turn an argument off.
_NOTHING = (None, False, "", -1)
_ONE_PROCESS = "each experiment is trained in one process"
_UNSUPPORTED: Mapping[str, str] = {
    "resume_from_checkpoint": "an interrupted run resumes by itself; for a trained adapter, set model.adapter",
    "push_to_hub": "run export --push-to-hub after the run",
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
    "eos_token": "the chat template sets the end of an answer; remove it",
    "pad_token": "padded positions are masked whatever their token is; remove it",
}
_CHECKPOINTING = frozenset({"use_reentrant", "preserve_rng_state", "determinism_check", "debug", "early_stop"})


class Default(NamedTuple):
    """A default, and why it differs from the trainer's own."""

    value: Any
    why: str


# Defaults that differ from those of TRL and transformers, because there are only a few dozen rows and an adapter.
TUNED: dict[str, Default] = {
    "num_train_epochs": Default(5, "few rows need several passes"),
    "per_device_train_batch_size": Default(DEFAULT_BATCH, "small batches, so that few rows give many steps"),
    "learning_rate": Default(
        2e-4, f"adapters tolerate higher rates than whole models ({FULL_LEARNING_RATE} with full_finetuning)"
    ),
    "lr_scheduler_type": Default("linear", "down to zero at the last step"),
    "warmup_steps": Default(0, "warmup would waste some of the few steps"),
    "weight_decay": Default(0.0, "adapters start at the base model"),
    "max_grad_norm": Default(1.0, "limits the effect of an outlier row"),
    "optim": Default("adamw_torch", "plain AdamW, the same on every device"),
    "activation_checkpointing": Default(
        False, "a few short rows fit in memory; recomputing would take a third of the time"
    ),
    "save_strategy": Default("no", "checkpoints are worth their time only in long trainings"),
    "eval_strategy": Default("no", '"epoch" with validation_size'),
}
# Arguments that prevent unwanted logs, reports and progress bars, and a second preparation of the rows.
SILENT: dict[str, Any] = {
    "max_length": None,  # prompts were truncated when they were rendered
    "packing": False,
    "padding_free": False,
    "dataset_kwargs": {"skip_prepare_dataset": True},  # the rows are token ids already
    "report_to": "none",
    "disable_tqdm": True,
    "logging_strategy": "steps",
    "logging_nan_inf_filter": False,  # a NaN loss must be visible
}


def trainer_defaults() -> dict[str, Any]:
    """Return all defaults, by argument."""
    return {**{name: default.value for name, default in TUNED.items()}, **SILENT}


def unsupported(args: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the arguments that are not supported: their names, and what to do instead."""
    for name, instead in _UNSUPPORTED.items():
        if args.get(name) not in _NOTHING:
            yield name, f"is not supported: {instead}"
    if args.get("completion_only_loss") is False:
        yield "completion_only_loss", "false is not supported: the loss is computed only on the answers; remove it"
    for name in ("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"):
        if isinstance(kwargs := args.get(name), dict) and (unknown := sorted(set(kwargs) - _CHECKPOINTING)):
            yield name, f'unknown key "{unknown[0]}" (known: {", ".join(sorted(_CHECKPOINTING))})'


def trainer_contradictions(args: Mapping[str, Any], validates: bool) -> Iterator[str]:
    """Yield the contradictions, one line each.

    Args:
        args: the user's arguments, under their current names.
        validates: whether there are validation shots (`training.validation_size`).
    """
    if args.get("packing") or args.get("padding_free"):
        # Without flash attention some models then attend across rows, silently.
        yield "remove packing and padding_free: each row is trained separately"
    if args.get("auto_find_batch_size"):
        # It would continue from the weights of the failed attempt, with a smaller batch.
        yield "remove auto_find_batch_size: set training.max_batch_tokens to limit the tokens per forward pass"
    if args.get("load_best_model_at_end"):
        yield "remove load_best_model_at_end: with training.validation_size, the best weights are kept"
    if args.get("save_strategy") == "best":
        yield 'remove save_strategy "best": with training.validation_size, the best weights are kept'
    if args.get("metric_for_best_model") not in (None, "loss", "eval_loss"):
        yield 'metric_for_best_model: expected "loss", the only metric on the validation rows'
    if validates and args.get("eval_strategy") == "no":
        yield 'eval_strategy "no" cannot be combined with training.validation_size; remove one'
    if not validates and (args.get("eval_strategy", "no") != "no" or args.get("eval_on_start")):
        yield "eval_strategy and eval_on_start require validation rows: set training.validation_size"
