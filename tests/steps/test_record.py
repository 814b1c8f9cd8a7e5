"""The count of labelled examples that a recipe used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.config.experiment import Experiment
from sft.config.sections.schema import Endpoint, ExperimentConfig
from sft.log import silent
from sft.results.schema import RunResult
from sft.steps.adapt import Adapted, adapt
from sft.steps.answering import answering
from sft.steps.evaluate import evaluate
from sft.steps.record import build_result, prompts_record, shots_record
from sft.steps.setup import Setup, prepare

MakeConfig = Callable[..., dict[str, Any]]
UNKNOWN = "model.adapter has no sft.json: the number of labelled examples it was trained on is unknown"


def experiment_of(config: dict[str, Any], endpoint: Endpoint = "evaluate") -> Experiment:
    return Experiment("x", ExperimentConfig.model_validate(config), 13, endpoint)


def adapted_by(experiment: Experiment, folder: Path) -> tuple[Setup, Adapted]:
    setup = prepare(experiment)
    return setup, adapt(setup, folder / "work", folder / "adapter", silent)


def result_of(experiment: Experiment, folder: Path) -> tuple[RunResult, dict[str, Any]]:
    setup, adapted = adapted_by(experiment, folder)
    with answering(setup, adapted) as backend:
        evaluated = {role: evaluate(setup, backend, role, silent) for role in setup.task.evaluated}
    return build_result(setup, adapted, evaluated), shots_record(setup, adapted, evaluated)


@pytest.fixture
def trained(make_config: MakeConfig, tmp_path: Path) -> Path:
    """An adapter trained on six rows."""
    adapted_by(experiment_of(make_config(), "train"), tmp_path)
    return tmp_path / "adapter"


def test_an_adapter_records_its_training_rows(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(dataset__shots=3, training__icl_examples=1, inference={"max_seq_length": 400})
    experiment = experiment_of(config, "train")
    _, adapted = adapted_by(experiment, tmp_path)
    record = json.loads((tmp_path / "adapter" / "sft.json").read_text())
    assert (record["run"], record["labelled_examples"], record["trained_on"]) == (experiment.id, 9, 6)
    assert set(adapted.prompts.rows) < set(record["rows"])


@pytest.mark.parametrize(
    ("changes", "labelled"),
    [
        ({"dataset__shots": 0}, 6),
        ({}, 6),
        # the examples are shots of the same seed, so training rows: each counts once
        ({"inference": {"icl_examples": 1, "max_seq_length": 400}}, 6),
        # all twelve rows, the six among them
        ({"dataset__shots": 0, "inference": {"icl_examples": 4, "max_seq_length": 900}}, 12),
    ],
)
def test_the_rows_of_a_trained_adapter_are_counted(
    make_config: MakeConfig, trained: Path, tmp_path: Path, changes: dict[str, Any], labelled: int
) -> None:
    config = make_config(model__adapter=str(trained), **changes)
    result, _ = result_of(experiment_of(config), tmp_path)
    assert result.labelled_examples == labelled
    assert result.shots["adapter_labelled_examples"] == 6
    assert result.shots["trained_on"] == 0


def test_rows_of_other_data_are_added(make_config: MakeConfig, trained: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text(f"text,label\n{split} lovely,good\n{split} awful,bad\n")
    files = {split: str(tmp_path / f"{split}.csv") for split in ("train", "test")}
    dataset = {"path": "csv", "args": {"data_files": files}, "task_type": "classification"}
    config = make_config(dataset=dataset, model__adapter=str(trained), inference={"icl_examples": 1})
    result, _ = result_of(experiment_of(config), tmp_path)
    assert result.labelled_examples == 6 + 2


@pytest.mark.parametrize("written", [None, "{", "[]", '{"run": "x"}'])
def test_an_adapter_of_unknown_origin_is_reported_as_unknown(
    make_config: MakeConfig, trained: Path, tmp_path: Path, written: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    record = trained / "sft.json"
    record.unlink() if written is None else record.write_text(written)
    result, _ = result_of(experiment_of(make_config(dataset__shots=0, model__adapter=str(trained))), tmp_path)
    assert result.labelled_examples == 0
    assert result.shots["adapter_labelled_examples"] is None
    assert caplog.text.count(UNKNOWN) == 1


def test_without_an_adapter_nothing_is_unknown(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result, shots = result_of(experiment_of(make_config()), tmp_path)
    assert (result.labelled_examples, result.shots["adapter_labelled_examples"]) == (0, 0)
    assert (result.shots["requested"], result.shots["drawn"], shots["indices"]) == (2, 0, [])
    assert UNKNOWN not in caplog.text


@pytest.mark.parametrize("random_icl", [False, True])
def test_examples_dropped_to_fit_are_counted_as_dropped_not_as_labelled(
    make_config: MakeConfig, tmp_path: Path, random_icl: bool
) -> None:
    inference = {"icl_examples": 1, "random_icl": random_icl, "max_seq_length": 100}
    config = make_config(dataset__shots=0, lora=None, training=None, inference=inference)
    result, shots = result_of(experiment_of(config), tmp_path)
    assert result.labelled_examples == 0
    assert result.shots["prompts"]["test"]["dropped_examples"] == 9 * 3
    assert result.shots["examples_shown"] == {"test": 0}
    assert shots["shown"]["test"] == {"fixed": []}


def text_of(kept: dict[str, Any], *kinds: str) -> str:
    return "".join(piece["text"] for piece in kept["pieces"] if not kinds or piece["kind"] in kinds)


def test_the_first_prompts_are_those_that_the_model_was_given(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(inference={"icl_examples": 1, "max_seq_length": 400}, prompting__instruction="Rate it.")
    setup, adapted = adapted_by(experiment_of(config, "run-experiment"), tmp_path)
    with answering(setup, adapted) as backend:
        evaluated = {"test": evaluate(setup, backend, "test", silent)}
    trained, tested = prompts_record(setup, adapted, evaluated)
    assert text_of(trained) == adapted.prompts.prompts[0].text
    assert (trained["role"], trained["row"]) == ("train", adapted.prompts.rows[0])
    (shown,) = setup.plan.look_at_evaluated("test", 1)
    ids = [*shown.prompt.ids, *shown.prompt.completion_ids]
    assert text_of(tested) == setup.tokenizer.decode(ids)
    assert text_of(tested, "instruction") == "Rate it."
    assert text_of(tested, "example_input") and not text_of(trained, "example_input")
    assert setup.task.evaluated["test"].answers[0] in text_of(tested, "completion")


def test_a_run_survives_prompts_that_cannot_be_shown(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    setup, adapted = adapted_by(experiment_of(make_config()), tmp_path)
    with answering(setup, adapted) as backend:
        evaluated = {"test": evaluate(setup, backend, "test", silent)}
    assert [one["role"] for one in prompts_record(setup, adapted, evaluated)] == ["test"]
    monkeypatch.setattr(type(setup.plan), "look_at", lambda *_: 1 / 0)
    assert prompts_record(setup, adapted, evaluated) == []
    assert "No example prompts are stored: ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("reads", [True, False])
def test_the_date_is_recorded_where_a_template_can_show_it(
    make_config: MakeConfig, make_tokenizer: Callable[..., Any], model_folder: Path, tmp_path: Path, reads: bool
) -> None:
    from sft.config.sections.prompting import DEFAULT_DATE

    model = tmp_path / "model"
    shutil.copytree(model_folder, model)
    template = model / "chat_template.jinja"
    clock = "{{ strftime_now('%Y') }}" if reads else ""
    template.write_text(clock + template.read_text(encoding="utf-8"), encoding="utf-8")
    config = make_config(dataset__shots=0, lora=None, training=None, model__name=str(model))
    result, _ = result_of(experiment_of(config), tmp_path)
    assert result.config["prompting"].get("date") == (DEFAULT_DATE if reads else None)
