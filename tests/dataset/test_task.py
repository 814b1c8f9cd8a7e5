"""A data set opened for one experiment: which parts are read, and when."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.config.experiment import Experiment
from sft.config.sections.schema import Endpoint, ExperimentConfig
from sft.dataset.task import Task, fingerprint, open_task, train_key
from sft.errors import DataError

MakeConfig = Callable[..., dict[str, Any]]
UNUSED = "dataset.shots is not used by"


def opened(config: dict[str, Any], endpoint: Endpoint = "run-experiment") -> Task:
    return open_task(Experiment("x", ExperimentConfig.model_validate(config), 13, endpoint))


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    """Return a data set with answers in the test split but not in the train split."""
    (tmp_path / "train.csv").write_text("text,label\none,\ntwo,\n")
    (tmp_path / "test.csv").write_text("text,label\nlovely,good\nawful,bad\n")
    return tmp_path


@pytest.mark.parametrize("task_type", ["classification", "generation"])
def test_a_zero_shot_run_has_the_train_split_to_look_at(make_config: MakeConfig, task_type: str) -> None:
    task = opened(make_config(dataset__shots=0, dataset__task_type=task_type))
    assert task.train is not None
    assert len(task.train) == 12
    assert not len(task.shots)
    assert fingerprint(task)["rows"] == {"test": 9, "train": 12}


def test_an_absent_cell_is_an_empty_input(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": null, "label": "a"}\n{"label": "b"}\n{"text": "", "label": "a"}\n')
    dataset = {"path": str(tmp_path / "train.jsonl"), "task_type": "classification", "test_split": "train"}
    task = opened(make_config(dataset=dataset), "evaluate")
    assert task.evaluated["test"].inputs(["text"]) == [{"text": ""}] * 3


@pytest.mark.parametrize("task_type", ["classification", "generation"])
def test_an_unlabelled_train_split_does_not_stop_a_run_that_does_not_use_it(
    make_config: MakeConfig, unlabelled: Path, task_type: str
) -> None:
    dataset = {"path": str(unlabelled), "task_type": task_type}
    dataset |= {"labels": ["bad", "good"]} if task_type == "classification" else {}
    task = opened(make_config(dataset=dataset, inference=None))
    assert task.evaluated["test"].answers == ("good", "bad")
    with pytest.raises(DataError, match="holds no labels"):
        assert task.train


def test_a_train_split_without_the_column_does_not_stop_a_run_that_does_not_use_it(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    from datasets import Dataset, DatasetDict

    test = {"text": ["lovely", "awful"], "label": ["good", "bad"]}
    tables = {"train": Dataset.from_dict({"text": ["one"]}), "test": Dataset.from_dict(test)}
    DatasetDict(tables).save_to_disk(tmp_path / "data")
    dataset = {"path": str(tmp_path / "data"), "task_type": "generation"}
    task = opened(make_config(dataset=dataset, inference=None))
    with pytest.raises(DataError, match='no column "label"'):
        assert task.train


@pytest.mark.parametrize(
    ("train_split", "rows"),
    [("train+validation", 18), ("train[:4]", 4), ("elsewhere", None), ("train+elsewhere", None)],
)
def test_a_zero_shot_run_opens_the_train_split_if_it_exists(
    make_config: MakeConfig, train_split: str, rows: int | None
) -> None:
    config = make_config(dataset__shots=0, dataset__task_type="generation", dataset__train_split=train_split)
    task = opened(config)
    assert (None if task.train is None else len(task.train)) == rows


def test_used_train_rows_need_answers(make_config: MakeConfig, unlabelled: Path) -> None:
    dataset = {"path": str(unlabelled), "task_type": "classification", "labels": ["bad", "good"]}
    for changes in ({"dataset": {**dataset, "shots": 1}}, {"dataset": dataset, "inference": {"icl_examples": 1}}):
        with pytest.raises(DataError, match="holds no labels"):
            opened(make_config(**changes))


def test_an_unknown_label_of_the_train_split_is_named_when_it_is_read(make_config: MakeConfig) -> None:
    task = opened(make_config(dataset__shots=0, dataset__labels=["bad", "fine", "good"]))
    assert task.train is not None
    folder = Path(task.experiment.config.dataset.path)
    other = make_config(dataset={"path": str(folder / "train.csv"), "task_type": "classification", "shots": 0,
                                 "labels": ["bad", "good"], "test_split": "train[:1]"})  # fmt: skip
    with pytest.raises(DataError, match='label "fine"'):
        assert opened(other).train


@pytest.mark.parametrize("endpoint", ["evaluate", "predict"])
def test_unused_shots_are_not_drawn_and_a_warning_is_logged(
    make_config: MakeConfig, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    task = opened(make_config(), endpoint)
    assert (len(task.shots), task.shots.requested) == (0, 2)
    assert f"{UNUSED} {endpoint}: nothing is trained; set model.adapter to a trained adapter" in caplog.text


@pytest.mark.parametrize(
    ("changes", "endpoint", "drawn"),
    [
        ({}, "run-experiment", 6),
        ({}, "train", 6),
        ({"inference": {"icl_examples": 1}}, "evaluate", 6),
        ({"inference": {"icl_examples": 1, "icl_pool": "shots"}}, "evaluate", 6),
        ({"model__adapter": "/adapters/mine"}, "evaluate", 0),
        ({"dataset__shots": 0}, "evaluate", 0),
    ],
)
def test_used_shots_are_drawn_without_a_warning(
    make_config: MakeConfig,
    changes: dict[str, Any],
    endpoint: Endpoint,
    drawn: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        task = opened(make_config(**changes), endpoint)
    assert len(task.shots) == drawn
    assert UNUSED not in caplog.text


def test_examples_from_train_leave_the_shots_unused(make_config: MakeConfig, caplog: pytest.LogCaptureFixture) -> None:
    task = opened(make_config(inference={"icl_examples": 1, "icl_pool": "train"}), "evaluate")
    assert not len(task.shots)
    assert UNUSED in caplog.text


def test_the_key_of_train_rows_follows_their_content(make_config: MakeConfig, tmp_path: Path) -> None:
    def key(**changes: Any) -> str:
        return train_key(ExperimentConfig.model_validate(make_config(**changes)))

    file = tmp_path / "train.csv"
    file.write_text("text,label\nlovely,good\n")
    args = {"data_files": {"train": str(file)}}
    first = key(dataset__path="csv", dataset__args=args)
    assert first == key(dataset__path="csv", dataset__args=args, dataset__shots=1, dataset__max_n_test=3)
    assert first != key(dataset__path="csv", dataset__args=args, dataset__train_split="train[:50%]")
    file.write_text("text,label\nlovely,good\nanother,bad\n")
    assert first != key(dataset__path="csv", dataset__args=args)
