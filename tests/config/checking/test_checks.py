"""Checks across keys, and what each command needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sft.config.checking.checks import config_notices, config_problems
from sft.config.reading.load import check_endpoint, parse_config
from sft.config.sections.schema import Endpoint
from sft.errors import ConfigError


def problems(data: dict[str, Any]) -> dict[str, str]:
    return dict(config_problems(data))


def test_a_good_config_has_none(data: dict[str, Any]) -> None:
    assert config_problems(data) == []
    assert config_notices(data) == []


def test_only_settings_that_a_calibration_ignores_are_noticed(data: dict[str, Any]) -> None:
    calibration = {"calibration_fn": "batch", "num_estimations": 3, "gamma_steps": 9, "unknown": 1}
    notices = config_notices({**data, "inference": {"calibration_args": calibration}})
    assert notices == ['inference.calibration_args.gamma_steps has no effect: calibration_fn is "batch"']


def test_data_of_any_type_does_not_crash() -> None:
    for odd in (None, 3, "text", [], [1], {"a": 1}):
        data = dict.fromkeys(("dataset", "model", "lora", "adapter", "training", "inference", "prompting"), odd)
        config_problems(data)
        config_notices(data)
    deep = {"dataset": {"labels": [[], {}, 3], "shots": "x"}, "prompting": {"verbalizers": {"a": [], "b": []}},
            "inference": {"icl_examples": "x", "icl_pool": [], "generation_args": 3}, "training": {"trainer_args": 3},
            "model": {"quantization": 3, "model_args": 3}}  # fmt: skip
    assert config_problems(deep) == []


def test_labels_and_verbalizers(data: dict[str, Any]) -> None:
    data["dataset"]["labels"] = ["a", "b", "a", "c"]
    data["prompting"]["verbalizers"] = {"a": "yes", "b": "yes", "d": "no"}
    assert [(problem.where, problem.what) for problem in config_problems(data)] == [
        ("dataset.labels", 'duplicate "a"; each label must be unique'),
        ("prompting.verbalizers", 'the labels "a", "b" have the same text "yes"'),
        ("prompting.verbalizers", 'has no text for "c"'),
        ("prompting.verbalizers", '"d" not in dataset.labels'),
    ]


def test_examples_cannot_come_from_no_shots(data: dict[str, Any]) -> None:
    data["inference"] = {"icl_pool": "shots", "icl_examples": 2}
    assert problems(data) == {}
    for shots in (0, None):
        data["dataset"]["shots"] = shots
        assert list(problems(data)) == ["inference.icl_pool"]
    data["inference"]["icl_examples"] = 0
    assert problems(data) == {}


def test_remote_code_is_trusted_by_true_only(data: dict[str, Any]) -> None:
    data["model"]["model_args"] = {"trust_remote_code": "yes"}
    assert problems(data) == {"model.model_args.trust_remote_code": 'expected true or false, got "yes"'}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attn_implementation", "org/kernel"), ("attn_implementation", "org/kernel@main:function"),
        ("attn_implementation", {"text_config": "sdpa", "vision_config": "org/kernel"}),
        ("experts_implementation", "org/kernel"), ("use_kernels", True), ("kernel_config", {"layer": "org/kernel"}),
    ],
)  # fmt: skip
def test_arguments_that_fetch_code_need_trust(key: str, value: Any, data: dict[str, Any]) -> None:
    for trust in (None, False):
        data["model"]["model_args"] = {key: value, "trust_remote_code": trust}
        (problem,) = problems(data).items()
        assert problem[0] == f"model.model_args.{key}"
        assert "downloads code from the Hub and runs it; if you trust it" in problem[1]
    data["model"]["model_args"] = {key: value, "trust_remote_code": True}
    assert not problems(data)


@pytest.mark.parametrize("value", ["eager", "sdpa", "flash_attention_2", None, {"": "sdpa"}])
def test_attention_of_the_library_needs_none(value: Any, data: dict[str, Any]) -> None:
    data["model"]["model_args"] = {"attn_implementation": value, "use_kernels": False}
    assert not problems(data)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("inference", "icl_examples", 1), ("training", "icl_examples", 1), ("inference", "label_scoring", "mean"),
        ("inference", "calibration_args", {"calibration_fn": "batch"}),
    ],
)  # fmt: skip
def test_settings_that_multilabel_refuses(section: str, key: str, value: Any, data: dict[str, Any]) -> None:
    data.setdefault(section, {})
    data[section] = {**data[section], key: value}
    data["dataset"]["task_type"] = "classification"
    assert not problems(data)
    data["dataset"]["task_type"] = "multilabel"
    assert list(problems(data)) == [f"{section}.{key}"]


def test_a_question_names_its_label_and_has_two_answers(data: dict[str, Any]) -> None:
    data["dataset"]["task_type"] = "multilabel"
    data["prompting"] |= {"question": "Is it {label}?", "yes_no": ["ja", "nein"]}
    parse_config(data, "mine.json", Path())
    data["prompting"]["question"] = "Is it?"
    for words in (["ja", "ja"], ["ja", " ja"], ["ja", ""]):
        data["prompting"]["yes_no"] = words
        assert list(problems(data)) == ["prompting.yes_no"]
    with pytest.raises(ConfigError, match=r"prompting\.question"):
        parse_config(data, "mine.json", Path())


def test_nearest_examples_are_always_chosen_per_row(data: dict[str, Any]) -> None:
    for chosen, random_icl, noticed in (("nearest", True, 1), ("nearest", False, 0), ("random", True, 0)):
        data["inference"] = {"icl_selection": chosen, "random_icl": random_icl}
        notices = [notice for notice in config_notices(data) if notice.startswith("inference.random_icl has no effect")]
        assert len(notices) == noticed


@pytest.mark.parametrize(
    ("task_type", "idle"),
    [
        ("classification", ["inference.generation_args"]),
        ("generation", ["dataset.labels", "prompting.verbalizers", "inference.label_scoring"]),
    ],
)
def test_keys_of_the_other_task_type_are_noticed(task_type: str, idle: list[str], data: dict[str, Any]) -> None:
    data["dataset"] |= {"task_type": task_type, "labels": ["a", "b"]}
    data["prompting"]["verbalizers"] = {"a": "x", "b": "y"}
    data["inference"] = {"generation_args": {"do_sample": True}, "label_scoring": "mean"}
    assert config_notices(data) == [f'{key} has no effect: dataset.task_type is "{task_type}"' for key in idle]
    parse_config(data, "mine.json", Path())


@pytest.mark.parametrize(
    ("endpoint", "shots", "without", "expected"),
    [
        ("train", 4, [], []),
        ("train", 4, ["inference"], []),
        ("train", 4, ["lora", "training"], ["lora", "training"]),
        ("train", 0, [], ["dataset.shots"]),
        ("train", "all", [], []),
        ("predict", 0, ["lora", "training"], []),
        ("predict", 4, ["inference"], ["inference"]),
        ("evaluate", 4, ["lora", "training", "inference"], ["inference"]),
        ("run-experiment", 4, ["lora"], ["lora"]),
        ("run-experiment", 4, ["lora", "training", "inference"], ["lora", "training", "inference"]),
        ("run-experiment", 0, ["lora", "training"], []),
        ("run-experiment", "all", ["training"], ["training"]),
    ],
)
def test_what_a_command_needs(
    endpoint: Endpoint, shots: Any, without: list[str], expected: list[str], data: dict[str, Any]
) -> None:
    data["dataset"]["shots"] = shots
    for name in without:
        del data[name]
    config = parse_config(data, "mine.json", Path())
    assert [problem.where for problem in check_endpoint(config, endpoint)] == expected


def test_lora_and_adapter_exclude_each_other(data: dict[str, Any]) -> None:
    data["adapter"] = {"peft_type": "IA3"}
    both = parse_config(data, "mine.json", Path())
    assert [problem.where for problem in check_endpoint(both, "train")] == ["adapter"]
    del data["lora"]
    assert check_endpoint(parse_config(data, "mine.json", Path()), "run-experiment") == []


def test_training_all_weights_excludes_an_adapter(data: dict[str, Any]) -> None:
    training = data.setdefault("training", {})
    for section, arguments in (("lora", {"r": 2}), ("adapter", {"peft_type": "IA3"})):
        data.pop("lora", None)
        data[section] = arguments
        training["full_finetuning"] = True
        assert problems(data) == {"training.full_finetuning": f"cannot be combined with {section}; choose one"}
        training["full_finetuning"] = False
        assert problems(data) == {}
        del data[section]
    training["full_finetuning"] = True
    data["dataset"]["shots"] = 4
    for endpoint in ("train", "run-experiment"):
        assert check_endpoint(parse_config(data, "mine.json", Path()), endpoint) == []
    data["model"]["quantization"] = {"config_class": "BitsAndBytesConfig", "args": {"load_in_8bit": True}}
    assert "cannot be combined with model.quantization" in problems(data)["training.full_finetuning"]


@pytest.mark.parametrize(
    ("training", "where", "message"),
    [
        ({"trainer_args": {"packing": True}}, "training.trainer_args", "remove packing"),
        ({"trainer_args": {"auto_find_batch_size": True}}, "training.trainer_args", "max_batch_tokens"),
        ({"trainer_args": {"load_best_model_at_end": True}}, "training.trainer_args", "the best weights are kept"),
        ({"trainer_args": {"evaluation_strategy": "epoch"}}, "training.trainer_args", "set training.validation_size"),
        ({"trainer_args": {"eval_on_start": True}}, "training.trainer_args", "set training.validation_size"),
        (
            {"trainer_args": {"eval_strategy": "no"}, "validation_size": 1},
            "training.trainer_args",
            "cannot be combined",
        ),
        ({"validation_size": 4}, "training.validation_size", "leaves none of the 4 shots"),
    ],
)
def test_impossible_trainings_are_reported_early(
    data: dict[str, Any], training: dict[str, Any], where: str, message: str
) -> None:
    data["dataset"] = {**data["dataset"], "shots": 4}
    assert problems(data) == {}
    data["training"] = training
    reported = problems(data)
    assert list(reported) == [where] and message in reported[where]


def test_a_fraction_is_between_0_and_1(data: dict[str, Any]) -> None:
    data["training"] = {"validation_size": 1.5}
    with pytest.raises(ConfigError, match=r"expected an integer from 1, or a number between 0 and 1, got 1\.5"):
        parse_config(data, "x.json", Path())
