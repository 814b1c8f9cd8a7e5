"""`inference.calibration_args`: refused values, older names, and the settings that change the id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sft.config.experiment import Experiment
from sft.config.reading.load import parse_config
from sft.config.sections.calibration import CalibrationConfig
from sft.config.sections.schema import ExperimentConfig
from sft.config.varying import varying_settings
from sft.errors import ConfigError
from sft.plugins import CALIBRATIONS, FORMER_CALIBRATIONS


def parse(data: dict[str, Any], **settings: Any) -> ExperimentConfig:
    inference = {**data["inference"], "calibration_args": settings}
    return parse_config({**data, "inference": inference}, "mine.json", Path())


def experiment(data: dict[str, Any], seed: int = 13, **settings: Any) -> Experiment:
    dataset = {**data["dataset"], "shots": 0}
    return Experiment("x", parse({**data, "dataset": dataset}, **settings), seed)


def test_specs_name_settings_that_exist() -> None:
    settings = CalibrationConfig.model_fields.keys() - {"calibration_fn"}
    assert set(CALIBRATIONS.own.settings) == settings
    assert {setting for spec in CALIBRATIONS.values() for setting in spec.settings} == settings


@pytest.mark.parametrize(
    ("settings", "key", "what"),
    [
        ({}, "calibration_fn", "is missing; expected a string"),
        ({"calibration_fn": 3}, "calibration_fn", "expected a string, got 3"),
        ({"calibration_fn": "contextal"}, "calibration_fn", 'unknown calibration "contextal"; did you mean'),
        ({"num_estimations": 0}, "num_estimations", "expected an integer from 1, got 0"),
        ({"num_train_samples": -1}, "num_train_samples", "expected an integer from 1, got -1"),
        ({"gamma_steps": 1}, "gamma_steps", "expected an integer from 2, got 1"),
        ({"gamma_range": [1]}, "gamma_range", "expected a list of 2 numbers, got [1]"),
        ({"gamma_range": [1, 2, 3]}, "gamma_range", "expected a list of 2 numbers, got [1, 2, 3]"),
        ({"gamma_range": ["a", 2]}, "gamma_range[0]", 'expected a number, got "a"'),
        ({"gamma_range": [2, 2]}, "gamma_range", "expected [smallest strength, larger strength], got [2, 2]"),
        ({"language": "in Thai"}, "language", 'expected a string such as "en", "zh", "pt-BR", got "in Thai"'),
        ({"gamma": 1}, "gamma", 'unknown key; did you mean "gamma_'),
        (
            {"zzz": 1},
            "zzz",
            "unknown key (known: calibration_fn, gamma_range, gamma_steps, language, num_estimations, "
            "num_train_samples)",
        ),
    ],
)
def test_a_problem_is_one_line(data: dict[str, Any], settings: dict[str, Any], key: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(data, **({"calibration_fn": "batch", **settings} if settings else {}))
    ((where, message),) = caught.value.problems
    assert where == f"inference.calibration_args.{key}"
    assert message.startswith(what)


@pytest.mark.parametrize(("old", "new"), FORMER_CALIBRATIONS.items())
def test_an_older_name_is_translated_with_a_notice(
    data: dict[str, Any], old: str, new: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = parse(data, calibration_fn=old)
    assert config.inference is not None
    assert config.inference.calibration_args == CalibrationConfig(calibration_fn=new)
    assert f'inference.calibration_args.calibration_fn: "{old}" is now called "{new}"' in caplog.text
    assert experiment(data, calibration_fn=old).id == experiment(data, calibration_fn=new).id


def test_a_setting_without_an_effect_gives_a_notice(data: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    parse(data, calibration_fn="batch", num_estimations=3, gamma_steps=9)
    assert 'inference.calibration_args.gamma_steps has no effect: calibration_fn is "batch"' in caplog.text
    assert "num_estimations" not in caplog.text
    caplog.clear()
    parse({**data, "dataset": {**data["dataset"], "task_type": "generation"}}, calibration_fn="batch")
    assert 'inference.calibration_args has no effect: dataset.task_type is "generation"' in caplog.text


def test_a_calibration_is_part_of_the_work(data: dict[str, Any]) -> None:
    plain = Experiment("x", ExperimentConfig.model_validate({**data, "dataset": {**data["dataset"], "shots": 0}}))
    ids = [experiment(data, calibration_fn=name).id for name in CALIBRATIONS]
    assert len({plain.id, *ids}) == len(ids) + 1
    different = [
        experiment(data, calibration_fn="batch", num_estimations=3),
        experiment(data, calibration_fn="domain", num_estimations=3),
        experiment(data, calibration_fn="domain", language="zh"),
        experiment(data, calibration_fn="supervised", num_train_samples=3),
        experiment(data, calibration_fn="adjustable_batch", gamma_range=[0, 2]),
        experiment(data, calibration_fn="adjustable_batch", gamma_steps=3),
        experiment(data, calibration_fn="mine:calibrate", language="zh"),
    ]
    assert len({*ids, *(changed.id for changed in different)}) == len(ids) + len(different)


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"calibration_fn": "batch"}, {"calibration_fn": "batch", "language": "zh", "num_train_samples": 3}),
        ({"calibration_fn": "contextual"}, {"calibration_fn": "contextual", "num_estimations": 5}),
        ({"calibration_fn": "domain"}, {"calibration_fn": "domain", "num_estimations": 20, "gamma_steps": 7}),
        ({"calibration_fn": "supervised"}, {"calibration_fn": "supervised", "num_train_samples": 128}),
        ({"calibration_fn": "adjustable_batch"}, {"calibration_fn": "adjustable_batch", "gamma_range": [-5, 5]}),
    ],
)
def test_settings_without_effect_do_not_change_the_id(
    data: dict[str, Any], settings: dict[str, Any], same: dict[str, Any]
) -> None:
    assert experiment(data, **settings).id == experiment(data, **same).id


@pytest.mark.parametrize("name", [*CALIBRATIONS, "mine:calibrate"])
def test_the_seed_changes_the_id_of_calibrations_that_draw(data: dict[str, Any], name: str) -> None:
    draws = name not in ("contextual", "contextual_per_sample", "batch")
    assert experiment(data, calibration_fn=name).is_random == draws
    assert (experiment(data, calibration_fn=name).id != experiment(data, 14, calibration_fn=name).id) == draws


def test_the_content_of_a_users_own_counts(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    ids = []
    for content in ("def f(evidence): return 1\n", "def f(evidence): return 22\n"):
        (tmp_path / "own_calibration.py").write_text(content, encoding="utf-8")
        ids.append(experiment(data, calibration_fn="own_calibration:f").id)
    assert ids[0] != ids[1]


def test_a_table_shows_only_settings_that_a_calibration_uses(data: dict[str, Any]) -> None:
    none = ExperimentConfig.model_validate(data)
    configs = [none, parse(data, calibration_fn="batch"), parse(data, calibration_fn="adjustable_batch")]
    (setting,) = varying_settings(configs)
    assert (setting.name, setting.values) == ("calibration", ("-", "batch", "adjustable_batch"))
    varying = varying_settings([configs[1], parse(data, calibration_fn="batch", num_estimations=9)])
    assert [(setting.name, setting.values) for setting in varying] == [("num_estimations", ("-", "9"))]
