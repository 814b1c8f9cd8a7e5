"""What is given to the trainer unless `training.trainer_args` says otherwise, and why. Data alone: imports nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

DEFAULT_BATCH = 8  # rows of a batch, where the trainer's arguments do not say
FULL_LEARNING_RATE = 2e-5


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
