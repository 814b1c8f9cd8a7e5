"""Identity: the same work has the same id; everything else does not change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sft.config.experiment import Experiment
from sft.config.sections.schema import Endpoint, ExperimentConfig

BASE: dict[str, Any] = {
    "dataset": {"path": "hub/data", "task_type": "classification", "shots": 4},
    "model": {"name": "hub/model"},
    "lora": {"r": 8},
    "prompting": {"input_columns": ["text"], "output_column": "label"},
    "training": {"trainer_args": {"learning_rate": 1e-4}},
    "inference": {"icl_examples": 0},
}


GENERATION = {"path": "hub/data", "task_type": "generation", "shots": 4}
MULTILABEL = {"path": "hub/data", "task_type": "multilabel", "shots": 4}
ALL_SEEDS = {"shots": 1, "icl": 2, "init": 3, "training": 4}


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
    """A change here makes every user repeat every finished run: raise ID_VERSION only on purpose."""
    assert experiment().id == "29ddf794483a"


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
def test_settings_outside_the_work_do_not_change_the_id(same: Experiment) -> None:
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
def test_settings_of_the_work_change_the_id(other: Experiment) -> None:
    assert other.id != experiment().id


def test_older_names_of_arguments_are_the_same_work() -> None:
    ids = [experiment(model={"name": "m", "model_args": {key: "float32"}}).id for key in ("dtype", "torch_dtype")]
    assert ids[0] == ids[1]
    older = experiment(training={"trainer_args": {"evaluation_strategy": "no"}})
    assert older.id == experiment(training={"trainer_args": {"eval_strategy": "no"}}).id


def test_training_all_weights_is_different_work_without_initialisation() -> None:
    arguments = BASE["training"]
    assert experiment(training={**arguments, "full_finetuning": False}).id == experiment().id
    whole = {"lora": None, "training": {**arguments, "full_finetuning": True}}
    ids = {experiment(**whole, seeds=seeds).id for seeds in ({}, {"init": 3}, {"init": 4})}
    assert len(ids) == 1 and ids != {experiment().id}
    assert experiment(**whole, seeds={"training": 3}).id not in ids


def test_zero_shot_is_one_run_whatever_seed_and_initialiser() -> None:
    plain = experiment(dataset__shots=0)
    assert plain.id == experiment(dataset__shots=0, seed=99).id
    assert plain.id == experiment(dataset__shots=0, lora={"r": 8, "init_lora_weights": "pca"}).id
    assert plain.id == experiment(dataset__shots=0, training={}).id
    assert not plain.is_random


def test_drawn_examples_and_sampling_are_random() -> None:
    drawn = {"dataset__shots": 0, "inference": {"icl_examples": 2}}
    assert experiment(**drawn).id != experiment(**drawn, seed=14).id
    sampled = {"dataset": {**GENERATION, "shots": 0}, "inference": {"generation_args": {"do_sample": True}}}
    assert experiment(**sampled).id != experiment(**sampled, seed=14).id
    assert experiment(**sampled, seeds=ALL_SEEDS).id != experiment(**sampled, seeds=ALL_SEEDS, seed=14).id


def test_the_nearest_examples_are_not_drawn() -> None:
    nearest = {"dataset__shots": 0, "inference": {"icl_examples": 2, "icl_selection": "nearest", "random_icl": True}}
    assert experiment(**nearest).id == experiment(**nearest, seed=14).id
    assert not experiment(**nearest).is_random
    others = ({**nearest, "dataset__shots": 4}, {**nearest, "inference": {"icl_examples": 2, "icl_selection": "a:b"}})
    for other in others:  # of shots that are drawn; a user's own may draw
        assert experiment(**other).id != experiment(**other, seed=14).id


def test_seeds_of_single_sources() -> None:
    overridden = experiment(seeds={"init": 7})
    assert (overridden.seed_of("init"), overridden.seed_of("shots")) == (7, 13)
    assert experiment().recipe_id == experiment(seed=99).recipe_id


def identical(first: dict[str, Any], second: dict[str, Any]) -> bool:
    a, b = experiment(**first), experiment(**second)
    assert (a.id == b.id) == (a.recipe_id == b.recipe_id)
    return a.id == b.id


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"inference": {"icl_examples": 0, "random_icl": True, "icl_pool": "train"}}, {}),
        ({"inference": {"icl_examples": 2, "icl_pool": "shots"}}, {"inference": {"icl_examples": 2}}),
        (
            {"dataset__shots": 0, "inference": {"icl_examples": 2, "icl_pool": "train"}},
            {"dataset__shots": 0, "inference": {"icl_examples": 2}},
        ),
        ({"inference": {"icl_examples": 0, "icl_selection": "nearest"}}, {}),
        ({"inference": {"icl_examples": 2, "icl_selection": "balanced"}}, {"inference": {"icl_examples": 2}}),
        (
            {"dataset": GENERATION, "inference": {"icl_examples": 2, "icl_selection": "random"}},
            {"dataset": GENERATION, "inference": {"icl_examples": 2}},
        ),
        (
            {"dataset": GENERATION, "inference": {"icl_examples": 2, "icl_selection": "balanced"}},
            {"dataset": GENERATION, "inference": {"icl_examples": 2}},
        ),
        (
            {"inference": {"icl_examples": 2, "icl_selection": "nearest", "random_icl": True}},
            {"inference": {"icl_examples": 2, "icl_selection": "nearest"}},
        ),
        ({"training": {"random_icl": True}}, {"training": {}}),
        ({"model": {"name": "hub/model", "adapter": "hub/adapter"}}, {}),
        ({"prompting__max_output_length": 9}, {}),
        ({"inference": {"generation_args": {"do_sample": True}}}, {}),
        ({"evaluation": {"tokenizer_name": "hub/other"}}, {}),
        ({"seeds": {"icl": 5}}, {}),
        (
            {
                "dataset": {**GENERATION, "labels": ["a", "b"]},
                "prompting": {**BASE["prompting"], "verbalizers": {"a": "A"}},
                "inference": {"label_scoring": "mean"},
                "evaluation": {"ece_bins": 3, "ece_norm": "max"},
            },
            {"dataset": GENERATION},
        ),
        ({"endpoint": "evaluate"}, {"endpoint": "evaluate", "dataset__shots": 0, "seed": 14}),
        ({"prompting__question": "{label}?", "prompting__yes_no": ["a", "b"], "dataset__label_separator": "|"}, {}),
        (
            {"dataset": MULTILABEL, "evaluation": {"ece_bins": 3}, "prompting__max_output_length": 9},
            {"dataset": MULTILABEL},
        ),
        (
            {"endpoint": "evaluate", "inference": {"icl_examples": 2, "icl_pool": "train"}},
            {"endpoint": "evaluate", "dataset__shots": 0, "inference": {"icl_examples": 2}},
        ),
        ({"endpoint": "predict", "evaluation": {"ece_bins": 3, "metrics": ["bleu"]}}, {"endpoint": "predict"}),
        (
            {
                "endpoint": "train",
                "dataset__test_split": "dev",
                "dataset__validation_split": "val",
                "dataset__max_n_test": 3,
                "inference": {"icl_examples": 2, "batch_size": 3},
                "evaluation": {"ece_bins": 3},
            },
            {"endpoint": "train"},
        ),
    ],
)
def test_settings_without_effect_do_not_change_the_id(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert identical(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"inference": {"icl_examples": 2, "icl_pool": "train"}}, {"inference": {"icl_examples": 2}}),
        ({"inference": {"icl_examples": 2, "random_icl": True}}, {"inference": {"icl_examples": 2}}),
        *(
            ({"inference": {"icl_examples": 2, "icl_selection": chosen}}, {"inference": {"icl_examples": 2}})
            for chosen in ("random", "nearest", "mine:own")
        ),
        (
            {"dataset": GENERATION, "inference": {"icl_examples": 2, "icl_selection": "nearest"}},
            {"dataset": GENERATION, "inference": {"icl_examples": 2}},
        ),
        (
            {"training": {"icl_examples": 1, "random_icl": True}},
            {"training": {"icl_examples": 1}},
        ),
        (
            {"dataset__shots": 0, "model": {"name": "hub/model", "adapter": "hub/adapter"}},
            {"dataset__shots": 0},
        ),
        ({"dataset": GENERATION, "prompting__max_output_length": 9}, {"dataset": GENERATION}),
        ({"dataset": GENERATION, "evaluation": {"tokenizer_name": "hub/other"}}, {"dataset": GENERATION}),
        ({"dataset": GENERATION, "inference": {"generation_args": {"num_beams": 2}}}, {"dataset": GENERATION}),
        *(
            ({"dataset": MULTILABEL, key: value}, {"dataset": MULTILABEL})
            for key, value in (
                ("prompting__question", "{label}?"),
                ("prompting__yes_no", ["a", "b"]),
                ("dataset", {**MULTILABEL, "label_separator": "|"}),
            )
        ),
        (
            {"endpoint": "evaluate", "dataset": {**MULTILABEL, "shots": 0}},
            {"endpoint": "evaluate", "dataset": MULTILABEL},
        ),
        ({"dataset__labels": ["a", "b"]}, {}),
        ({"prompting__verbalizers": {"a": "A"}}, {}),
        ({"inference": {"label_scoring": "mean"}}, {}),
        ({"dataset__max_n_test": 3}, {}),
        (
            {"endpoint": "evaluate", "inference": {"icl_examples": 2}},
            {"endpoint": "evaluate", "dataset__shots": 8, "inference": {"icl_examples": 2}},
        ),
        ({"endpoint": "evaluate", "dataset__test_split": "dev"}, {"endpoint": "evaluate"}),
        ({"endpoint": "evaluate", "evaluation": {"ece_bins": 3}}, {"endpoint": "evaluate"}),
        ({"endpoint": "train", "inference": {"max_seq_length": 64}}, {"endpoint": "train"}),
        ({"endpoint": "train", "inference": {"tokenizer_name": "hub/other"}}, {"endpoint": "train"}),
        ({"seeds": {"icl": 5}, "inference": {"icl_examples": 2}}, {"inference": {"icl_examples": 2}}),
        ({"seeds": {"icl": 5}, "training": {"icl_examples": 1}}, {"training": {"icl_examples": 1}}),
    ],
)
def test_the_same_settings_count_where_they_have_an_effect(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert not identical(first, second)


def test_the_seed_counts_only_where_something_follows_it() -> None:
    trained = {"shots": 1, "init": 3, "training": 4}
    assert experiment(seeds=trained).id == experiment(seeds=trained, seed=14).id
    assert not experiment(seeds=trained).is_random
    for left in trained:
        others = {source: seed for source, seed in trained.items() if source != left}
        assert experiment(seeds=others).id != experiment(seeds=others, seed=14).id, left
    for icl in ({"inference": {"icl_examples": 1}}, {"training": {"icl_examples": 1}}):
        assert experiment(seeds=trained, **icl).id != experiment(seeds=trained, **icl, seed=14).id
        assert experiment(seeds=ALL_SEEDS, **icl).id == experiment(seeds=ALL_SEEDS, **icl, seed=14).id
    changed = [experiment(seeds={**trained, source: 9}).id for source in trained]
    assert len({experiment(seeds=trained).id, *changed}) == 4


def test_the_order_of_all_rows_is_random_too() -> None:
    everything = {"dataset__shots": "all", "seeds": {"init": 3, "training": 4}}
    assert experiment(**everything).id != experiment(**everything, seed=14).id


def test_files_of_a_pattern_count_by_content(tmp_path: Path) -> None:
    def of(pattern: str) -> str:
        return experiment(dataset__path="csv", dataset__args={"data_files": {"test": pattern}}).id

    for name in ("here", "there"):
        (tmp_path / name / "inner").mkdir(parents=True)
        for file in ("te1.csv", "te2.csv", "inner/te3.csv"):
            (tmp_path / name / file).write_text(f"text,label\n{file},y\n")
    here, there = tmp_path / "here", tmp_path / "there"
    (there / "train.csv").write_text("not among them")
    assert of(f"{here}/te*.csv") == of(f"{there}/te*.csv") == of(f"{there}/te?.csv")
    assert of(f"{here}/**/te*.csv") == of(f"{there}/**/te*.csv") != of(f"{here}/te*.csv")
    before = of(f"{there}/te*.csv")
    (there / "te2.csv").write_text("text,label\nedited,y\n")
    assert of(f"{there}/te*.csv") != before
    (here / "te4.csv").write_text("text,label\nmore,y\n")
    assert of(f"{here}/te*.csv") != before
    assert of(f"{here}/no*.csv") != of(f"{there}/no*.csv")


def test_local_data_counts_by_content_not_by_path(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("changes", [{}, {"dataset__shots": 0}])
def test_of_seed_equals_an_experiment_with_that_seed(changes: dict[str, Any]) -> None:
    other = experiment(**changes).of_seed(14, "y")
    assert other == experiment(seed=14, name="y", **changes)
    assert (other.id, other.recipe_id) == (
        experiment(seed=14, **changes).id,
        experiment(seed=14, **changes).recipe_id,
    )
