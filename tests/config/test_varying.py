"""The settings that vary between configs, under short names."""

from __future__ import annotations

from typing import Any

from sft.config.sections.schema import ExperimentConfig
from sft.config.varying import varying_settings


def config(**changes: Any) -> ExperimentConfig:
    data: dict[str, Any] = {
        "dataset": {"path": "hub/data", "task_type": "classification", "shots": 4},
        "model": {"name": "hub/model"},
        "lora": {"r": 8},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "training": {"trainer_args": {"learning_rate": 1e-4}},
        "inference": {},
    }
    for key, value in changes.items():
        section, _, field = key.partition("__")
        data[section] = {**data[section], field: value}
    return ExperimentConfig.model_validate(data)


def columns(*configs: ExperimentConfig) -> dict[str, tuple[str, ...]]:
    return {setting.name: setting.values for setting in varying_settings(configs)}


def test_only_what_varies_is_a_column() -> None:
    assert columns(config(), config(dataset__shots=8)) == {"shots": ("4", "8")}
    assert columns(config(), config()) == {}


def test_a_zero_shot_config_does_not_count_for_training() -> None:
    zero = config(dataset__shots=0)
    assert columns(zero, config()) == {"shots": ("0", "4")}
    assert columns(zero, config(), config(lora__init_lora_weights="pca")) == {
        "shots": ("0", "4", "4"),
        "init": ("-", "default", "pca"),
    }


def test_a_setting_of_only_some_configs_varies() -> None:
    quantised = config(model__quantization={"config_class": "BitsAndBytesConfig", "args": {"load_in_4bit": True}})
    assert columns(config(), quantised) == {"config_class": ("-", "BitsAndBytesConfig"), "load_in_4bit": ("-", "yes")}


def test_names_are_short_values_too() -> None:
    assert columns(config(model__name="a/small"), config(model__name="/deep/path/big")) == {"model": ("small", "big")}
    assert columns(config(), config(training__trainer_args={"learning_rate": 5e-3})) == {"lr": ("0.0001", "0.005")}


def test_equal_short_names_are_distinguished() -> None:
    first = config(dataset__args={"x": 1}, model__model_args={"x": 1})
    second = config(dataset__args={"x": 2}, model__model_args={"x": 2})
    assert columns(first, second) == {"dataset.args.x": ("1", "2"), "model.model_args.x": ("1", "2")}
