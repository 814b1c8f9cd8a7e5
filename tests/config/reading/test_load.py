"""Files: JSON and Jsonnet, one config and grids, and their errors."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.config.checking.suggestions import OTHER_NAMES, _sections_by_key, unknown_key
from sft.config.reading.load import load_config, load_grid, parse_config
from sft.errors import ConfigError

Write = Callable[..., Path]


def message(read: Callable[[], Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        read()
    return str(caught.value)


def test_a_config_takes_its_name_from_the_file(data: dict[str, Any], write: Write) -> None:
    assert load_config(write(data, "tweets.json")).name == "tweets"
    assert load_config(write({**data, "name": "mine"}, "tweets.json")).name == "mine"


def test_all_problems_at_once_in_aligned_lines(data: dict[str, Any], write: Write) -> None:
    data["dataset"]["shotz"] = 3
    data["inference"]["batch_size"] = -3
    data["lora"]["lora_alpa"] = 16
    data["training"]["trainer_args"] = {"learning_rate": "fast"}
    path = write(data)
    assert message(lambda: load_config(path)).splitlines() == [
        f"{path}: 4 problems",
        '  dataset.shotz                        unknown key; did you mean "shots"?',
        '  lora.lora_alpa                       unknown key; did you mean "lora_alpha"?',
        '  training.trainer_args.learning_rate  expected a number, got "fast"',
        '  inference.batch_size                 expected an integer from 1, or "auto", got -3',
    ]


def test_one_problem_is_one_line(data: dict[str, Any], write: Write) -> None:
    data["dataset"]["shotz"] = 3
    path = write(data)
    assert message(lambda: load_config(path)) == f'{path}: dataset.shotz: unknown key; did you mean "shots"?'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{\n "dataset": {,}\n}', ":2:14: not JSON: "),
        ("", ":1:1: not JSON: "),
        ('{"seed": NaN}', "NaN is not a JSON number"),
        ('{"seed": -Infinity}', "-Infinity is not a JSON number"),
        ('{"seed": 1, "seed": 2}', 'duplicate key "seed"'),
        ("[1, 2]", "expected an object at the top level, got [1, 2]"),
        ('"text"', 'expected an object at the top level, got "text"'),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": {"dataset": {}}, "b": {"dataset": {}}}', "configs: is missing; write a grid as "),
        ('{"configs": {}}', "configs: expected at least one experiment, got {}"),
        ('{"configs": []}', "configs: expected an object {NAME: config}, got []"),
        ('{"configs": {" ": {}}}', "expected a non-empty name for each experiment"),
        ('{"configs": {"a": 3}}', "expected an object, got 3"),
        ('{"configs": {"a": {}}, "seedz": [1]}', 'seedz: unknown key; did you mean "seeds"?'),
    ],
)
def test_a_broken_file_is_reported_in_one_line(text: str, expected: str, write: Write) -> None:
    path = write(text)
    error = message(lambda: load_grid(path))
    assert expected in error
    assert error.startswith(str(path))
    assert "\n" not in error


def test_infinite_numbers_are_refused_however_they_are_spelt(data: dict[str, Any], write: Write) -> None:
    text = json.dumps({**data, "lora": {"lora_dropout": 7777}}).replace("7777", "1e999")
    assert "lora.lora_dropout" in message(lambda: load_config(write(text)))
    text = json.dumps({**data, "model": {"name": "org/m", "model_args": {"x": [7777]}}}).replace("7777", "1e999")
    path = write(text)
    assert message(lambda: load_config(path)) == f"{path}: model.model_args.x[0]: is not a finite number"


def test_files_that_cannot_be_read(tmp_path: Path, write: Write) -> None:
    write("{}", "mine.json")
    assert message(lambda: load_config(tmp_path / "mime.json")).endswith('no such file; did you mean "mine.json"?')
    assert message(lambda: load_config(tmp_path)).endswith("is not a file")
    (tmp_path / "latin.json").write_bytes('{"name": "café"}'.encode("latin-1"))
    assert ":1:14: is not UTF-8 text" in message(lambda: load_config(tmp_path / "latin.json"))


def test_a_byte_order_mark_is_accepted(data: dict[str, Any], write: Write) -> None:
    assert load_config(write("\ufeff" + json.dumps(data))).dataset.shots == 4


def test_sections_that_a_command_needs(data: dict[str, Any], write: Write) -> None:
    del data["training"], data["inference"]
    path = write(data)
    assert "training   is missing" in message(lambda: load_config(path, needs=("lora", "training", "inference")))


def test_a_grid_keeps_the_order_of_the_file_and_names_its_configs(data: dict[str, Any], write: Write) -> None:
    grid = load_grid(write({"configs": {"b": data, "a": {**data, "name": "other"}}, "seeds": [13, 14]}))
    assert list(grid.configs) == ["b", "a"]
    assert [config.name for config in grid.configs.values()] == ["b", "other"]
    assert grid.seeds == (13, 14)


def test_one_config_is_a_grid_of_one(data: dict[str, Any], write: Write) -> None:
    assert list(load_grid(write(data, "tweets.json")).configs) == ["tweets"]
    assert list(load_grid(write({**data, "name": "mine"})).configs) == ["mine"]
    assert load_grid(write({**data, "seeds": {"init": 3}})).seeds is None


def test_jsonnet_of_one_config(data: dict[str, Any], write: Write) -> None:
    path = write(f"{json.dumps(data)} {{ dataset+: {{ shots: 2 * 8 }} }}", "one.jsonnet")
    assert load_config(path).dataset.shots == 16
    assert load_config(write({"configs": {"only": data}})).name == "only"
    many = write({"configs": {"a": data, "b": data}})
    assert "configs: expected one experiment, got 2" in message(lambda: load_config(many))


def test_jsonnet_names_are_ordered_by_their_numbers(data: dict[str, Any], write: Write) -> None:
    path = write("{ configs: { ['shots=%d' % n]: " + json.dumps(data) + " for n in [16, 4, 128, 0] } }", "g.jsonnet")
    assert list(load_grid(path).configs) == ["shots=0", "shots=4", "shots=16", "shots=128"]


def test_a_problem_of_many_experiments_is_reported_once(data: dict[str, Any], write: Write) -> None:
    bad = {**data, "dataset": {**data["dataset"], "shotz": 3}}
    worse = {**bad, "inference": {"batch_size": 0}}
    path = write({"configs": {"a": bad, "b": worse, "c": data, "d": bad}})
    assert message(lambda: load_grid(path)).splitlines() == [
        f"{path}: 2 problems",
        '  a: dataset.shotz         unknown key; did you mean "shots"? (and 2 more experiments)',
        '  b: inference.batch_size  expected an integer from 1, or "auto", got 0',
    ]


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1], [True], ["13"], 13, [2**32], [1.5]])
def test_seeds_of_a_grid(seeds: Any, data: dict[str, Any], write: Write) -> None:
    path = write({"configs": {"a": data}, "seeds": seeds})
    expected = "seeds: expected a list of different integers from 0 to 4294967295, got "
    assert expected + json.dumps(seeds) in message(lambda: load_grid(path))


def test_a_seed_is_set_once(data: dict[str, Any], write: Write) -> None:
    path = write({"configs": {"a": {**data, "seed": 3}}, "seeds": [1, 2]})
    assert "seed: cannot be combined with the grid's seeds" in message(lambda: load_grid(path))
    assert load_grid(write({"configs": {"a": {**data, "seed": 3}}})).configs["a"].seed == 3


def test_too_many_experiments_are_refused_unless_allowed(data: dict[str, Any], write: Write) -> None:
    path = write({"configs": {str(n): data for n in range(6)}, "seeds": [1, 2]})
    assert "expected at most 11 experiments, got 12" in message(lambda: load_grid(path, max_experiments=11))
    assert len(load_grid(path, max_experiments=12).configs) == 6


def test_notices_are_given_once(data: dict[str, Any], write: Write, caplog: pytest.LogCaptureFixture) -> None:
    data["training"] = {"trainer_args": {"evaluation_strategy": "no", "max_seq_length": 64}}
    path = write({"configs": {"a": data, "b": data}})
    with caplog.at_level(logging.WARNING, logger="sft"):
        load_grid(path)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: training.trainer_args.evaluation_strategy is now called eval_strategy",
        f"{path}: training.trainer_args.max_seq_length is now called max_length",
    ]


def test_names_of_plugins_are_checked(data: dict[str, Any], write: Write) -> None:
    data["lora"]["init_lora_weights"] = "pcaa"
    data["evaluation"] = {"metrics": ["bleu", "blau", "mine:metric"]}
    data["training"] = {"method": "sfft"}
    with pytest.raises(ConfigError) as caught:
        load_config(write(data))
    messages = {where: what.partition("; ")[0] for where, what in caught.value.problems}
    assert messages == {
        "lora.init_lora_weights": 'unknown initialiser "pcaa"',
        "evaluation.metrics[1]": 'unknown metric "blau"',
        "training.method": 'unknown training method "sfft"',
    }
    del data["training"]
    for known in ("pca", True):
        data["lora"]["init_lora_weights"] = known
        data["evaluation"] = {}
        load_config(write(data))


def test_parsed_data_keeps_its_source_in_messages(data: dict[str, Any]) -> None:
    data["seed"] = -1
    assert message(lambda: parse_config(data, "request 7", Path())).startswith("request 7: seed: ")


def test_loading_a_grid_imports_no_heavy_library(repository: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sft.config.reading.load import load_grid; "
        "load_grid(Path('etc/configs/jsonnet/tweet_sentiment.jsonnet')); "
        "print([m for m in ('torch', 'transformers', 'datasets', 'numpy', 'pandas', 'peft') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize(("name", "key_path"), OTHER_NAMES.items())
def test_names_of_other_tools_lead_to_existing_keys(name: str, key_path: str) -> None:
    section, _, key = key_path.rpartition(".")
    assert section in _sections_by_key()[key]
    assert unknown_key((section, name), [key]) in (
        f'unknown key; did you mean "{key}"?',
        f"unknown key; use {key_path}",
    )
    if section != "training.trainer_args":
        assert unknown_key(("dataset" if section != "dataset" else "model", name), []).startswith("unknown key; ")


def test_batch_size_in_training_leads_to_the_trainer() -> None:
    message = unknown_key(("training", "batch_size"), ["method", "trainer_args"])
    assert message == "unknown key; use training.trainer_args.per_device_train_batch_size"
    assert unknown_key(("lora", "rank"), ["r", "lora_alpha"]) == 'unknown key; did you mean "r"?'
