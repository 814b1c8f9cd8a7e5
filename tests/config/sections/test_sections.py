"""The sections: strict types, no unknown keys, no negative counts; errors name the possible values in one phrase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sft.config.reading.load import parse_config
from sft.errors import ConfigError


def complaint(data: dict[str, Any], path: str, value: Any) -> str:
    """Return the message about `value` at a dotted path, in an otherwise valid config."""
    *parents, key = path.split(".")
    node = data
    for part in parents:
        node = node.setdefault(part, {})
    node[key] = value
    with pytest.raises(ConfigError) as caught:
        parse_config(data, "mine.json", Path())
    assert [problem.where for problem in caught.value.problems] == [path], str(caught.value)
    return caught.value.problems[0].what


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("dataset.shots", -1, 'expected an integer from 0, or "all", got -1'),
        ("dataset.shots", "8", 'expected an integer from 0, or "all", got "8"'),
        ("dataset.shots", 8.5, 'expected an integer from 0, or "all", got 8.5'),
        ("dataset.shots", True, 'expected an integer from 0, or "all", got true'),
        ("dataset.max_n_test", 0, "expected an integer from 1, got 0"),
        ("dataset.path", "", 'expected a non-empty string, got ""'),
        ("dataset.args", [], "expected an object, got []"),
        ("dataset.labels", "a", 'expected a list of strings, got "a"'),
        ("inference.batch_size", -3, 'expected an integer from 1, or "auto", got -3'),
        ("inference.icl_examples", -1, "expected an integer from 0, got -1"),
        ("inference.random_icl", 1, "expected true or false, got 1"),
        (
            "inference.label_scoring",
            "median",
            'expected "sum", "mean", "first" or "pmi", got "median"; did you mean "mean"?',
        ),
        ("inference.calibration_args", "batch", 'expected an object, got "batch"'),
        ("prompting.input_columns", [], "expected a non-empty list of strings, got []"),
        ("prompting.input_columns", "text", 'expected a non-empty list of strings, got "text"'),
        ("prompting.max_input_length", 0, "expected an integer from 1, got 0"),
        ("training.icl_examples", -2, "expected an integer from 0, got -2"),
        ("evaluation.ece_bins", 0, "expected an integer from 1, got 0"),
        ("evaluation.ece_norm", "l3", 'expected "l1", "l2" or "max", got "l3"'),
        ("seed", 2**32, "expected an integer from 0 to 4294967295, got 4294967296"),
        ("seeds.init", -1, "expected an integer from 0 to 4294967295, got -1"),
        ("lora.init_lora_weights", 3, "expected true or false, or a string, got 3"),
        ("model", "org/model", 'expected an object, got "org/model"'),
        ("training", 3, "expected an object, got 3"),
        ("name", 7, "expected a string, got 7"),
    ],
)
def test_a_wrong_value_is_reported_with_the_possible_values(
    data: dict[str, Any], path: str, value: Any, what: str
) -> None:
    assert complaint(data, path, value) == what


@pytest.mark.parametrize(
    ("section", "key", "value", "where"),
    [
        ("dataset", "labels", ["a", 1], "dataset.labels[1]"),
        ("prompting", "verbalizers", {"a": "b", "c": 3}, "prompting.verbalizers.c"),
        ("prompting", "verbalizers", {"[c": 3}, "prompting.verbalizers.[c"),
        ("prompting", "input_columns", ["a", None], "prompting.input_columns[1]"),
        ("evaluation", "metrics", [1], "evaluation.metrics[0]"),
    ],
)
def test_an_inner_key_is_named(data: dict[str, Any], section: str, key: str, value: Any, where: str) -> None:
    data.setdefault(section, {})[key] = value
    with pytest.raises(ConfigError) as caught:
        parse_config(data, "mine.json", Path())
    assert [problem.where for problem in caught.value.problems] == [where]
    assert caught.value.problems[0].what.startswith("expected a string, got ")


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("dataset.shotz", 'unknown key; did you mean "shots"?'),
        ("dataset.max_input_length", "unknown key; it belongs in prompting"),
        ("inference.max_input_length", "unknown key; it belongs in prompting"),
        ("training.learning_rate", "unknown key; it belongs in training.trainer_args"),
        ("model.r", "unknown key; it belongs in lora"),
        ("prompting.task_type", "unknown key; it belongs in dataset"),
        ("inference.max_new_tokens", "unknown key; it belongs in inference.generation_args"),
        ("lorra", 'unknown key; did you mean "lora"?'),
        ("shots", "unknown key; it belongs in dataset"),
        ("inference.calibration_fn", "unknown key; it belongs in inference.calibration_args"),
        ("model.verbalisers", 'unknown key; did you mean "verbalizers" in prompting?'),
        ("evaluation.zzz", "unknown key (known: ece_bins, ece_norm, lm_eval, metrics, tokenizer_name)"),
    ],
)
def test_the_message_about_an_unknown_key_names_its_section(data: dict[str, Any], path: str, what: str) -> None:
    assert complaint(data, path, 3) == what


def test_the_message_about_a_missing_key_names_its_type(data: dict[str, Any]) -> None:
    del data["dataset"]["task_type"], data["model"]
    with pytest.raises(ConfigError) as caught:
        parse_config(data, "mine.json", Path())
    assert dict(caught.value.problems) == {
        "dataset.task_type": 'is missing; expected "generation", "classification" or "multilabel"',
        "model": "is missing; expected an object",
    }


def test_null_is_the_default_only_of_optional_keys(data: dict[str, Any]) -> None:
    data["dataset"]["max_n_test"] = data["lora"] = data["inference"]["max_seq_length"] = None
    config = parse_config(data, "mine.json", Path())
    assert config.dataset.max_n_test is None
    assert config.lora is None
    assert complaint(data, "dataset.train_split", None) == "expected a string, got null"


def test_a_config_is_frozen(data: dict[str, Any]) -> None:
    config = parse_config(data, "mine.json", Path())
    with pytest.raises(ValueError, match="frozen"):
        config.dataset.shots = 3  # type: ignore[misc]


def test_a_dumped_config_is_a_config(data: dict[str, Any]) -> None:
    data["dataset"]["labels"] = ["a", "b"]
    data["lora"]["target_modules"] = "all-linear"
    config = parse_config(data, "mine.json", Path())
    assert parse_config(config.model_dump(mode="json", by_alias=True), "again", Path()) == config
