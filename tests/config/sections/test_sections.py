"""The sections: strict types, no unknown keys, no negative counts, and what is possible said in one phrase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sft.config.reading.load import parse_config
from sft.errors import ConfigError


def complaint(data: dict[str, Any], path: str, value: Any) -> str:
    """What is said of `value` at a dotted path, where everything else is right."""
    *place, key = path.split(".")
    node = data
    for part in place:
        node = node.setdefault(part, {})
    node[key] = value
    with pytest.raises(ConfigError) as caught:
        parse_config(data, "mine.json", Path())
    assert [problem.where for problem in caught.value.problems] == [path], str(caught.value)
    return caught.value.problems[0].what


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("dataset.shots", -1, '-1 is not allowed: a whole number from 0, or "all"'),
        ("dataset.shots", "8", '"8" is not allowed: a whole number from 0, or "all"'),
        ("dataset.shots", 8.5, '8.5 is not allowed: a whole number from 0, or "all"'),
        ("dataset.shots", True, 'true is not allowed: a whole number from 0, or "all"'),
        ("dataset.max_n_test", 0, "0 is not allowed: a whole number from 1"),
        ("dataset.path", "", '"" is not allowed: a text that is not empty'),
        ("dataset.args", [], "[] is not allowed: an object"),
        ("dataset.labels", "a", '"a" is not allowed: a list of texts'),
        ("inference.batch_size", -3, '-3 is not allowed: a whole number from 1, or "auto"'),
        ("inference.icl_examples", -1, "-1 is not allowed: a whole number from 0"),
        ("inference.random_icl", 1, "1 is not allowed: true or false"),
        (
            "inference.label_scoring",
            "median",
            '"median" is not allowed: "sum", "mean", "first" or "pmi"; did you mean "mean"?',
        ),
        ("inference.calibration_args", "batch", '"batch" is not allowed: an object'),
        ("prompting.input_columns", [], "[] is not allowed: a list of texts with at least one entry"),
        ("prompting.input_columns", "text", '"text" is not allowed: a list of texts with at least one entry'),
        ("prompting.max_input_length", 0, "0 is not allowed: a whole number from 1"),
        ("training.icl_examples", -2, "-2 is not allowed: a whole number from 0"),
        ("evaluation.ece_bins", 0, "0 is not allowed: a whole number from 1"),
        ("evaluation.ece_norm", "l3", '"l3" is not allowed: "l1", "l2" or "max"'),
        ("seed", 2**32, "4294967296 is not allowed: a whole number from 0 to 4294967295"),
        ("seeds.init", -1, "-1 is not allowed: a whole number from 0 to 4294967295"),
        ("lora.init_lora_weights", 3, "3 is not allowed: true or false, or a text"),
        ("model", "org/model", '"org/model" is not allowed: an object'),
        ("training", 3, "3 is not allowed: an object"),
        ("name", 7, "7 is not allowed: a text"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_possible(data: dict[str, Any], path: str, value: Any, what: str) -> None:
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
    assert caught.value.problems[0].what.endswith("is not allowed: a text")


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
def test_an_unknown_key_is_led_to_its_place(data: dict[str, Any], path: str, what: str) -> None:
    assert complaint(data, path, 3) == what


def test_a_missing_key_says_what_it_takes(data: dict[str, Any]) -> None:
    del data["dataset"]["task_type"], data["model"]
    with pytest.raises(ConfigError) as caught:
        parse_config(data, "mine.json", Path())
    assert dict(caught.value.problems) == {
        "dataset.task_type": 'is missing: "generation", "classification" or "multilabel"',
        "model": "is missing: an object",
    }


def test_null_stands_for_the_default_only_where_one_may_leave_it_out(data: dict[str, Any]) -> None:
    data["dataset"]["max_n_test"] = data["lora"] = data["inference"]["max_seq_length"] = None
    config = parse_config(data, "mine.json", Path())
    assert config.dataset.max_n_test is None
    assert config.lora is None
    assert complaint(data, "dataset.train_split", None) == "null is not allowed: a text"


def test_a_config_is_frozen(data: dict[str, Any]) -> None:
    config = parse_config(data, "mine.json", Path())
    with pytest.raises(ValueError, match="frozen"):
        config.dataset.shots = 3  # type: ignore[misc]


def test_a_dumped_config_is_a_config(data: dict[str, Any]) -> None:
    data["dataset"]["labels"] = ["a", "b"]
    data["lora"]["target_modules"] = "all-linear"
    config = parse_config(data, "mine.json", Path())
    assert parse_config(config.model_dump(mode="json", by_alias=True), "again", Path()) == config
