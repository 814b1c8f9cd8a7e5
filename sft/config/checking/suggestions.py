"""Unknown keys: the key that was probably meant, or the section of the key. Knows all key names, no values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel

from sft.config.libraries.library import generation_arguments, peft_arguments, trainer_arguments
from sft.config.sections.calibration import CalibrationConfig
from sft.config.sections.inference import ConstrainConfig
from sft.config.sections.schema import ExperimentConfig
from sft.config.wording import LONGEST_KEY, near

MANY_KEYS = 20
_TRAINER = "training.trainer_args"
# Names of the same settings in TRL, PEFT, axolotl, LLaMA-Factory and lm-eval.
OTHER_NAMES = {
    "rank": "lora.r", "lora_rank": "lora.r", "lora_r": "lora.r", "alpha": "lora.lora_alpha",
    "dropout": "lora.lora_dropout", "lora_target": "lora.target_modules", "lora_target_modules": "lora.target_modules",
    "batch_size": f"{_TRAINER}.per_device_train_batch_size", "lr": f"{_TRAINER}.learning_rate",
    "micro_batch_size": f"{_TRAINER}.per_device_train_batch_size",
    "train_batch_size": f"{_TRAINER}.per_device_train_batch_size",
    "epochs": f"{_TRAINER}.num_train_epochs", "num_epochs": f"{_TRAINER}.num_train_epochs",
    "gradient_accumulation": f"{_TRAINER}.gradient_accumulation_steps",
    "cutoff_len": "inference.max_seq_length", "sequence_len": "inference.max_seq_length",
    "max_seq_len": "inference.max_seq_length", "model_max_length": "inference.max_seq_length",
    "model_name_or_path": "model.name", "base_model": "model.name", "pretrained": "model.name",
    "adapter_name_or_path": "model.adapter", "peft_model": "model.adapter", "load_in_4bit": "model.quantization",
    "load_in_8bit": "model.quantization", "quantization_bit": "model.quantization",
    "dataset_name": "dataset.path", "datasets": "dataset.path", "num_shots": "dataset.shots",
    "n_shots": "dataset.shots", "num_fewshot": "inference.icl_examples", "fewshot": "inference.icl_examples",
    "val_set_size": "training.validation_size", "val_size": "training.validation_size",
    "system_prompt": "prompting.instruction", "system": "prompting.instruction",
}  # fmt: skip


def unknown_key(path: Sequence[str], known: Iterable[str]) -> str:
    """Return the message for the unknown last key of `path` in a section with the `known` keys.

    It suggests, in this order: a longer key of this section; the key for another tool's name; the section that has
    exactly this key; a similar key of this section; a similar key of another section; all keys of this section.
    """
    *parents, key = path
    names = sorted(known)
    here = ".".join(parents)
    if longer := [name for name in names if name.endswith(f"_{key}")]:
        return f'unknown key; did you mean "{longer[-1]}"?'  # batch_size: per_device_train_batch_size
    other = OTHER_NAMES.get(key, "")
    if other and (key not in _sections_by_key() or other.startswith(f"{(parents or [''])[0]}.")):
        section, _, name = other.rpartition(".")
        return f'unknown key; did you mean "{name}"?' if section == here else f"unknown key; use {other}"
    if elsewhere := [other for other in _sections_by_key().get(key, ()) if other != here]:
        return f"unknown key; it belongs {_location(elsewhere)}"
    if meant := near(key, names):
        return f"unknown key{meant}"
    if far := _far(key):
        return f'unknown key; did you mean "{far}" {_location(_sections_by_key()[far])}?'
    return f"unknown key (known: {', '.join(names)})" if 0 < len(names) <= MANY_KEYS else "unknown key"


@lru_cache(maxsize=1024)
def _far(key: str) -> str | None:
    """Return the similar key of another section."""
    matches = get_close_matches(key, list(_sections_by_key()), n=1, cutoff=0.8) if len(key) <= LONGEST_KEY else []
    return matches[0] if matches else None


def _location(sections: Sequence[str]) -> str:
    return " or ".join("at the top level" if section == "" else f"in {section}" for section in sections)


@lru_cache(maxsize=1)
def _sections_by_key() -> dict[str, list[str]]:
    """Return the sections of each key (`""`: the top level), own sections before the libraries' arguments."""
    by_key: dict[str, list[str]] = {}
    sections: dict[str, Iterable[str]] = {"": _names(ExperimentConfig)}
    for name, field in ExperimentConfig.model_fields.items():
        if name == "seeds":
            continue  # its keys have the names of sections and settings that are meant more often
        for section in _sections(field.annotation):
            sections[name] = _names(section)
    sections["model.quantization"] = ("config_class",)
    sections["inference.constrain"] = _names(ConstrainConfig)
    sections["inference.calibration_args"] = _names(CalibrationConfig)
    own = dict(sections)
    libraries: dict[str, Iterable[str]] = {
        "lora": peft_arguments("LORA"),
        "training.trainer_args": trainer_arguments(),
        "inference.generation_args": generation_arguments(),
    }
    for table in (own, libraries):
        fresh = {key for names in table.values() for key in names if key not in by_key}
        for section_name, names in table.items():
            for key in names:
                if key in fresh:
                    by_key.setdefault(key, []).append(section_name)
    return by_key


def _sections(annotation: Any) -> list[type[BaseModel]]:
    members = get_args(annotation) or (annotation,)
    return [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]
