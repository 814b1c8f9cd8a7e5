"""Arguments of TRL's trainer: our defaults, then those that the device and the run decide, then the user's."""

from __future__ import annotations

from typing import Any

import torch
from trl import SFTConfig

from sft.config.checking.arguments import TRAINER_ARGS, translate_trainer_args
from sft.config.libraries.trainer import FULL_LEARNING_RATE, trainer_contradictions, trainer_defaults
from sft.config.sections.training import halved_batch
from sft.errors import ConfigError, Problem
from sft.foreign import explained
from sft.memory import halvings
from sft.model.source import quiet
from sft.training.base import TrainRequest

KEPT_POINTS = 1000  # the most points of a loss curve; longer trainings log every few steps

CALLERS_OWN = ("output_dir", "seed", "data_seed")  # the final adapter's folder and the run's seeds
# transformers still accepts these old names, but its new names override them, and we set one of the new names.
ALIASES = {
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
}


def sft_config(request: TrainRequest) -> SFTConfig:
    """Return TRL's config: our defaults, the device's needs, then the user's arguments.

    Raises:
        ConfigError: an unknown argument, or values that TRL refuses.
    """
    device, dtype = request.model.device.type, _compute_dtype(request)
    user = user_arguments(request.config.trainer_args)
    if user.get("fp16") and device == "cpu":
        raise refused("fp16 needs a GPU; remove it, or set bf16")
    split = halved_batch(user, halvings())
    values: dict[str, Any] = {
        **trainer_defaults(),
        "bf16": device == "cuda" and dtype == torch.bfloat16,
        "fp16": device == "cuda" and dtype == torch.float16,
        "use_cpu": device == "cpu",
        "dataloader_pin_memory": device == "cuda",
        **({"eval_strategy": "epoch"} if request.validation else {}),
        **({"learning_rate": FULL_LEARNING_RATE} if not hasattr(request.model, "peft_config") else {}),
        **user,
        "per_device_train_batch_size": split.per_device,
        "per_device_eval_batch_size": _eval_batch(user, split.per_device),
        "gradient_accumulation_steps": split.accumulation,
        "save_only_model": False,  # checkpoints serve for resuming and are removed at the end
        "save_total_limit": None,  # see `Checkpointing`
        "output_dir": str(request.work_dir),
        "seed": request.seed,
        "data_seed": request.seed,
    }
    _check_no_truncation(request, values)
    for contradiction in trainer_contradictions(user, bool(request.validation)):
        raise refused(contradiction)
    with explained(TRAINER_ARGS), quiet():
        if "logging_steps" not in user:
            values["logging_steps"] = 1
            values["logging_steps"] = _logging_steps(SFTConfig(**values), len(request.rows))
        return SFTConfig(**values)


def user_arguments(trainer_args: dict[str, Any]) -> dict[str, Any]:
    """Return the user's arguments under their current names, without those that the run itself decides.

    Raises:
        ConfigError: unknown or removed arguments, each with a remedy.
    """
    translated = translate_trainer_args(trainer_args)
    if translated.problems:
        raise ConfigError("", translated.problems)
    user = {key: value for key, value in translated.args.items() if key not in CALLERS_OWN}
    for old, new in ALIASES.items():
        if old in user:
            user.setdefault(new, user.pop(old))
    return user


def _eval_batch(user: dict[str, Any], train_batch: int) -> int:
    batch_size = user.get("per_device_eval_batch_size")
    return train_batch if batch_size is None else max(1, int(batch_size) >> halvings())


def _compute_dtype(request: TrainRequest) -> torch.dtype:
    """Return the dtype that the base model computes in (quantised weights themselves are integers)."""
    return request.model.get_input_embeddings().weight.dtype


def _check_no_truncation(request: TrainRequest, values: dict[str, Any]) -> None:
    """Raise when the trainer would truncate a row. Prompts are shortened earlier, where they are rendered."""
    longest = max(len(row) for row in request.rows)
    if values["max_length"] is not None and longest > values["max_length"]:
        raise refused(
            f"max_length {values['max_length']} would truncate answers (the longest row has {longest} tokens); "
            "shorten the prompts with prompting.max_input_length"
        )


def _logging_steps(config: SFTConfig, rows: int) -> int:
    """Return the number of steps between log lines: 1, or more for long trainings."""
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps
    steps = config.max_steps if config.max_steps > 0 else -(-rows // batch) * config.num_train_epochs
    return max(1, int(steps) // KEPT_POINTS)


def refused(reason: str) -> ConfigError:
    return ConfigError("", [Problem(TRAINER_ARGS, reason)])
