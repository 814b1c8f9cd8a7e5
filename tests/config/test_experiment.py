"""Identity: the same work has the same id; what is no part of the work changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sft.config.experiment import Experiment
from sft.config.schema import Endpoint, ExperimentConfig

BASE: dict[str, Any] = {
    "dataset": {"path": "hub/data", "task_type": "classification", "shots": 4},
    "model": {"name": "hub/model"},
    "lora": {"r": 8},
    "prompting": {"input_columns": ["text"], "output_column": "label"},
    "training": {"trainer_args": {"learning_rate": 1e-4}},
    "inference": {"icl_examples": 0},
}


def experiment(seed: int = 13, endpoint: Endpoint = "run-experiment", name: str = "x", **changes: Any) -> Experiment:
    data = {section: dict(values) for section, values in BASE.items()}
    for key, value in changes.items():
        section, _, field = key.partition("__")
        if field:
            data[section][field] = value
        else:
            data[section] = value
    return Experiment(name, ExperimentConfig.model_validate(data), seed, endpoint)


def test_the_id_is_frozen() -> None:
    """A change here makes every finished run of every user start again: raise ID_VERSION only on purpose."""
    assert experiment().id == "039319c1c2e3"


@pytest.mark.parametrize(
    "same",
    [
        experiment(name="renamed"),
        experiment(description="words"),
        experiment(dataset__train_split="train"),
        experiment(inference={}),
        experiment(evaluation={}),
        experiment(seed=13),
        experiment(training={"trainer_args": {"learning_rate": 1e-4, "output_dir": "elsewhere", "logging_steps": 3}}),
        experiment(training={"trainer_args": {"learning_rate": 0.0001}, "method": "sft"}),
    ],
)
def test_what_is_no_part_of_the_work_changes_nothing(same: Experiment) -> None:
    assert same.id == experiment().id


@pytest.mark.parametrize(
    "other",
    [
        experiment(seed=14),
        experiment(dataset__shots=8),
        experiment(lora={"r": 16}),
        experiment(model={"name": "hub/other"}),
        experiment(training={"trainer_args": {"learning_rate": 2e-4}}),
        experiment(inference={"icl_examples": 1}),
        experiment(evaluation={"ece_bins": 3}),
        experiment(seeds={"init": 1}),
        experiment(endpoint="train"),
    ],
)
def test_what_is_part_of_the_work_changes_the_id(other: Experiment) -> None:
    assert other.id != experiment().id


def test_older_names_of_arguments_are_the_same_work() -> None:
    ids = [experiment(model={"name": "m", "model_args": {key: "float32"}}).id for key in ("dtype", "torch_dtype")]
    assert ids[0] == ids[1]
    older = experiment(training={"trainer_args": {"evaluation_strategy": "no"}})
    assert older.id == experiment(training={"trainer_args": {"eval_strategy": "no"}}).id


def test_zero_shot_is_one_run_whatever_seed_and_initialiser() -> None:
    plain = experiment(dataset__shots=0)
    assert plain.id == experiment(dataset__shots=0, seed=99).id
    assert plain.id == experiment(dataset__shots=0, lora={"r": 8, "init_lora_weights": "pca"}).id
    assert plain.id == experiment(dataset__shots=0, training={}).id
    assert not plain.is_random


def test_drawn_examples_and_sampling_are_random() -> None:
    drawn = {"dataset__shots": 0, "inference": {"icl_examples": 2}}
    assert experiment(**drawn).id != experiment(**drawn, seed=14).id
    sampled = {"dataset__shots": 0, "inference": {"generation_args": {"do_sample": True}}}
    assert experiment(**sampled).id != experiment(**sampled, seed=14).id


def test_seeds_of_single_sources() -> None:
    one = experiment(seeds={"init": 7})
    assert (one.seed_of("init"), one.seed_of("shots")) == (7, 13)
    assert experiment().recipe_id == experiment(seed=99).recipe_id


def test_local_data_counts_by_content_not_by_place(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "data.csv", tmp_path / "b" / "other.csv"
    for file in (first, second):
        file.parent.mkdir()
        file.write_text("text,label\nx,y\n")
    ids = [experiment(dataset__path=str(file)).id for file in (first, second)]
    assert ids[0] == ids[1]
    second.write_text("text,label\nx,z\n")
    assert experiment(dataset__path=str(second)).id != ids[0]
    files = [experiment(dataset__args={"data_files": {"train": str(file)}}).id for file in (first, second)]
    assert files[0] != files[1]


def test_a_local_model_folder_counts_by_content(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    ids = [experiment(model={"name": str(tmp_path / name)}).id for name in ("one", "two")]
    assert ids[0] == ids[1]
    (tmp_path / "two" / "config.json").write_text('{"a": 1}')
    assert experiment(model={"name": str(tmp_path / "two")}).id != ids[0]


@pytest.mark.parametrize(
    ("name", "slug"),
    [("shots=8 icl=2", "shots-8-icl-2"), ("../../etc/passwd", "etc-passwd"), ("ü / ?", "run"), ("a" * 99, "a" * 60)],
)
def test_names_never_become_paths(name: str, slug: str) -> None:
    assert experiment(name=name).slug == slug
