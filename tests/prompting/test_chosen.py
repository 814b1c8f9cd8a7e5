"""The examples of evaluated rows, as rows of the train split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sft.config.experiment import Experiment
from sft.config.sections.schema import ExperimentConfig
from sft.dataset.task import Task, open_task
from sft.prompting.chosen import EvaluationExamples

MakeConfig = Callable[..., dict[str, Any]]


def chooser(config: dict[str, Any]) -> tuple[EvaluationExamples, Task]:
    experiment = Experiment("x", ExperimentConfig.model_validate(config), 13)
    task = open_task(experiment)
    return EvaluationExamples(experiment, task), task


def test_without_examples_none_are_chosen(make_config: MakeConfig) -> None:
    inference = {"icl_selection": "no_such_module:at_all"}  # not imported, since nothing uses it
    examples, task = chooser(make_config(inference=inference))
    assert examples.same == ()
    assert examples.own(task.evaluated["test"]) == [()] * 9


def test_row_numbers_are_those_of_the_train_split_not_of_the_pool(make_config: MakeConfig) -> None:
    for chosen in ("balanced", "random", "nearest"):
        examples, task = chooser(make_config(inference={"icl_examples": 1, "icl_selection": chosen}))
        shots = set(task.shots.indices)
        assert shots != set(range(len(shots)))
        assert {row for rows in examples.own(task.evaluated["test"]) for row in rows} <= shots
        assert examples.by_row == (chosen == "nearest")
        assert set(examples.same if not examples.by_row else ()) <= shots


def test_a_train_row_is_not_its_own_example(make_config: MakeConfig) -> None:
    examples, task = chooser(
        make_config(dataset__shots=0, inference={"icl_examples": 1, "icl_selection": "nearest", "icl_pool": "train"})
    )
    assert task.train is not None
    for row, shown in enumerate(examples.own(task.train)):
        assert row not in shown
        assert {example % 3 for example in shown} == {row % 3}
