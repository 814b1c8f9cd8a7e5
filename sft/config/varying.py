"""The settings that differ between configs, under short names: for the list of a grid and the columns of its table.

A setting is a dotted key with a plain value (`lora.r`: 8). Settings that always change together (a model and its
quantisation) are separate columns. Knows nothing of results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from sft.config.sections.schema import ExperimentConfig
from sft.plugins import CALIBRATIONS

ABSENT = "-"
_NOT_SETTINGS = ("name", "description", "$schema", "seed", "training.trainer_args.output_dir")
_TRAINING_ONLY = ("lora.", "adapter.", "training.")
_CALIBRATION = "inference.calibration_args."
_CALIBRATION_NAME = f"{_CALIBRATION}calibration_fn"
_SHORT_NAMES = {
    _CALIBRATION_NAME: "calibration",
    "dataset.shots": "shots",
    "dataset.path": "data",
    "inference.icl_examples": "icl",
    "inference.icl_selection": "selection",
    "training.icl_examples": "train icl",
    "lora.init_lora_weights": "init",
    "model.name": "model",
    "training.trainer_args.learning_rate": "lr",
    "training.trainer_args.num_train_epochs": "epochs",
}


class Setting(NamedTuple):
    """A varying setting: its dotted key, its short name, and its value in each config."""

    key: str
    name: str
    values: tuple[str, ...]


def varying_settings(configs: Sequence[ExperimentConfig]) -> list[Setting]:
    """Return the settings that are not the same in all configs, in the order of the sections."""
    known = {id(config): config for config in configs}  # experiments that differ only by seed share their config
    dotted = {key: settings(config) for key, config in known.items()}
    flat = [dotted[id(config)] for config in configs]
    keys = list(dict.fromkeys(key for each in flat for key in each))
    varying = [
        key
        for key in keys
        # a zero-shot config does not count for the settings of training
        if len({_comparable(each.get(key, ABSENT)) for each in dotted.values() if key in each or _is_used(key, each)})
        > 1
    ]
    names = _short_names(varying)
    labels = {key: labels_of(key, [each.get(key, ABSENT) for each in dotted.values()]) for key in varying}
    return [
        Setting(key, names[key], tuple(labels[key][str(each.get(key, ABSENT))] for each in flat)) for key in varying
    ]


def settings(config: ExperimentConfig) -> dict[str, Any]:
    """Return a config as dotted keys, without the sections that are unused at 0 shots (lora, training)."""
    data = config.model_dump(mode="json", by_alias=True)
    if config.dataset.shots == 0:
        for section in _TRAINING_ONLY:
            data[section.rstrip(".")] = None
    flat: dict[str, Any] = {}
    _flatten(data, "", flat)
    return {key: value for key, value in flat.items() if key not in _NOT_SETTINGS and _is_followed(key, flat)}


def _is_used(key: str, flat: Mapping[str, Any]) -> bool:
    if key.startswith(_CALIBRATION) and key != _CALIBRATION_NAME:
        return _CALIBRATION_NAME in flat and _is_followed(key, flat)
    return not (key.startswith(_TRAINING_ONLY) and flat.get("dataset.shots") == 0)


def _is_followed(key: str, flat: Mapping[str, Any]) -> bool:
    """Return false for a calibration setting that the config's calibration does not use: its column is useless."""
    setting = key.removeprefix(_CALIBRATION)
    followed = CALIBRATIONS.spec(flat.get(_CALIBRATION_NAME, "")).settings
    return setting not in CALIBRATIONS.own.settings or setting in followed


def _comparable(value: Any) -> tuple[bool, Any]:
    """Return a key for comparison: 1 and 1.0 are the same setting, 1 and true are not."""
    return isinstance(value, bool), value


def labels_of(key: str, values: Sequence[Any]) -> dict[str, str]:
    """Map values, as text, to table cells; in full if two would look the same (`a/train.csv`, `b/train.csv`)."""
    texts = {value for value in values if isinstance(value, str)}
    in_full = len({show(key, text) for text in texts}) < len(texts)
    return {str(value): value if in_full and isinstance(value, str) else show(key, value) for value in values}


def show(key: str, value: Any) -> str:
    """Return a value as a table cell."""
    if value is None or value == ABSENT:
        return ABSENT
    if key == "lora.init_lora_weights" and value is True:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return PurePath(value).name if key in ("model.name", "model.adapter", "dataset.path") else value
    return str(value)


def _flatten(value: Any, key: str, flat: dict[str, Any]) -> None:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            _flatten(item, f"{key}.{name}" if key else name, flat)
    elif isinstance(value, list):
        flat[key] = ", ".join(str(item) for item in value)
    elif value is not None and value != {}:
        flat[key] = value


def short_name(key: str) -> str:
    """Return a setting's name in tables: `init` for `lora.init_lora_weights`, else the last part of its key."""
    return _SHORT_NAMES.get(key, key.rpartition(".")[2])


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the last part of each key, or the whole key if two would be the same."""
    names = {key: short_name(key) for key in keys}
    taken = list(names.values())
    return {key: name if taken.count(name) == 1 else key for key, name in names.items()}
