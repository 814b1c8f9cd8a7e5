"""The data flow as a whole: what the check before a sweep says, halved batches, and leaving for a scheduler."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft import pipeline
from sft.config.experiment import Experiment
from sft.config.sections.schema import Endpoint, ExperimentConfig
from sft.memory import halved, halvings
from sft.results.schema import RunResult
from sft.results.store import ResultStore, RunFolder


def run_in(
    results: Path, config: dict[str, Any], endpoint: Endpoint = "run-experiment", halvings: int = 0
) -> tuple[RunFolder, RunResult]:
    experiment = Experiment("x", ExperimentConfig.model_validate(config), 13, endpoint)
    folder = ResultStore(results).folder(experiment.id, experiment.slug)
    with halved(halvings):
        return folder, pipeline.run(experiment, folder)


def test_a_bug_in_the_check_is_reported_separately_and_stops_no_other(
    make_config: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = pipeline.prepare

    def stumbling(experiment: Experiment) -> Any:
        if experiment.config.prompting.instruction == "stumble":
            raise RuntimeError("a bug")
        return prepare(experiment)

    monkeypatch.setattr(pipeline, "prepare", stumbling)
    zero = {"dataset__shots": 0, "lora": None, "training": None}
    configs = {
        "stumbles": make_config(**zero, prompting__instruction="stumble", name="the first"),
        "wrong": make_config(**zero, prompting__input_columns=["tweet"]),
        "right": make_config(**zero),
    }
    request = {run_id: {"config": config, "endpoint": "run-experiment"} for run_id, config in configs.items()}
    checked = pipeline.check_data(request)
    assert checked["problems"].keys() == {"wrong"}
    assert checked["breakdown"] == "the first: RuntimeError: a bug"
    assert pipeline.check_data({"right": request["right"]}) == {"problems": {}, "breakdown": "", "notes": []}


def test_each_experiment_is_checked_by_its_own_settings(make_config: Callable[..., dict[str, Any]]) -> None:
    request = {
        str(length): {
            "config": make_config(dataset__shots=0, lora=None, training=None, inference={"max_seq_length": length}),
            "endpoint": "run-experiment",
        }
        for length in (12, 256)
    }
    problems = pipeline.check_data(request)["problems"]
    assert problems.keys() == {"12"}
    assert "max_seq_length is 12" in problems["12"]


def test_halved_batches_change_no_result_and_are_recorded(
    make_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    config = make_config(training__trainer_args={"max_steps": 3, "per_device_train_batch_size": 6})
    _, whole = run_in(tmp_path / "whole", config)
    folder, halved = run_in(tmp_path / "halved", config, halvings=2)
    assert (whole.training["per_device_batch"], whole.training["accumulation"]) == (6, 1)
    assert (halved.training["per_device_batch"], halved.training["accumulation"]) == (1, 6)
    assert "batch_halvings" not in whole.resources
    assert halved.resources["batch_halvings"] == 2
    assert halved.id == whole.id
    assert halved.results["log_loss"] == pytest.approx(whole.results["log_loss"], rel=1e-4)
    losses = [[entry["loss"] for entry in one.training["loss_history"]] for one in (whole, halved)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert not folder.work.exists()


@pytest.mark.parametrize("keep", [False, True])
def test_checkpoints_stay_when_asked_for(
    make_config: Callable[..., dict[str, Any]], tmp_path: Path, keep: bool
) -> None:
    training = {"trainer_args": {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}, "keep_checkpoints": keep}
    folder, result = run_in(tmp_path, make_config(training=training))
    kept = sorted(path.name for path in folder.work.glob("*")) if folder.work.exists() else []
    assert kept == (["checkpoint-1", "checkpoint-2"] if keep else [])
    other = make_config(training={**training, "keep_checkpoints": not keep})
    assert Experiment("x", ExperimentConfig.model_validate(other), 13).id == result.id  # the same work


def test_shots_for_validation(make_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    training = {"trainer_args": {"num_train_epochs": 3, "learning_rate": 1e-2}, "validation_size": 0.5}
    config = make_config(dataset__shots=4, training={**training, "early_stopping_patience": 1})
    folder, result = run_in(tmp_path, config)
    assert (result.shots["trained_on"], result.shots["validated_on"], result.labelled_examples) == (6, 6, 12)
    shots = json.loads((folder.path / "shots.json").read_text(encoding="utf-8"))
    assert sorted(shots["trained_on"] + shots["validated_on"]) == sorted(shots["indices"])
    history = result.training["validation_history"]
    assert result.training["best_step"] == min(history, key=lambda entry: entry["loss"])["step"]


def test_evaluation_batches_are_halved_too(
    make_config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sft.inference import batching

    asked: list[tuple[Any, int]] = []
    of = batching.Capacity.of

    def noted(device: Any, size: Any) -> Any:
        asked.append((size, halvings()))
        return of(device, size)

    monkeypatch.setattr(batching.Capacity, "of", noted)
    zero = make_config(dataset__shots=0, lora=None, training=None)
    run_in(tmp_path, zero, halvings=2)
    dataset, prompting = {**zero["dataset"], "task_type": "generation"}, {**zero["prompting"], "max_output_length": 2}
    run_in(tmp_path, {**zero, "dataset": dataset, "prompting": prompting, "inference": {"batch_size": 8}}, halvings=1)
    assert asked == [("auto", 2), (8, 1)]


CHILD = """
import sys, time
from pathlib import Path
from sft import log, signals
signals.install_handlers()
from sft import pipeline
from sft.config.experiment import Experiment
from sft.config.sections.schema import ExperimentConfig
from sft.io import parse_json
from sft.results.store import ResultStore

def slowly(*_):
    def report(phase, done, total, note=""):
        if phase == "train" and done == 5:
            print(done, flush=True)
            while signals.requested() is None:
                time.sleep(0.01)
    return report

pipeline.both = slowly  # after a step that the parent sees, it waits for the parent's signal
log.configure_logging()
experiment = Experiment("x", ExperimentConfig.model_validate(parse_json(sys.argv[1])), 13, "run-experiment")
pipeline.run(experiment, ResultStore(Path(sys.argv[2])).folder(experiment.id, experiment.slug))
"""


@pytest.mark.slow
def test_a_run_that_a_scheduler_interrupted_resumes(make_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    arguments = {"max_steps": 8, "per_device_train_batch_size": 2}
    lora = {"r": 2, "target_modules": "all-linear", "lora_dropout": 0.1}
    config = make_config(training__trainer_args=arguments, lora=lora)
    undisturbed, expected = run_in(tmp_path / "undisturbed", config)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps(config), str(tmp_path / "left")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert child.stdout is not None
    assert int(child.stdout.readline()) == 5
    child.send_signal(signal.SIGUSR1)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGUSR1, errors
    (left,) = (tmp_path / "left" / "runs").iterdir()
    state = RunFolder(left).state()
    assert state is not None and (state.state, state.error) == ("interrupted", "terminated (SIGUSR1)")
    assert len(list(left.glob("checkpoints/*/complete.json"))) == 1
    folder, result = run_in(tmp_path / "left", config)
    assert folder.path == left
    assert 5 <= result.training["resumed_from"] < 8
    assert result.training["loss_history"] == expected.training["loss_history"]
    assert result.results == expected.results
    for name in ("adapter/adapter_model.safetensors", "label_scores.safetensors", "predictions.tsv"):
        assert (left / name).read_bytes() == (undisturbed.path / name).read_bytes()
    assert not (left / "checkpoints").exists()


def test_a_failure_after_training_resumes_from_the_last_checkpoint(
    make_config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"max_steps": 3, "per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 2}
    config = make_config(training__trainer_args=arguments)

    def failing(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(pipeline, "evaluate", failing)
        run_in(tmp_path, config)
    folder, result = run_in(tmp_path, config, halvings=1)
    assert (result.training["resumed_from"], result.training["steps"]) == (3, 3)
    assert not folder.work.exists()


def test_train_saves_the_adapter_and_keeps_other_files(
    make_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    arguments = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1, "output_dir": str(output)}
    (output / ".checkpoints" / "checkpoint-7").mkdir(parents=True)
    (output / ".checkpoints" / "checkpoint-7" / "mine").touch()
    config = make_config(training__trainer_args=arguments)
    pipeline.train(Experiment("x", ExperimentConfig.model_validate(config), 13, "train"))
    assert (output / "adapter_config.json").is_file()
    assert [path.name for path in sorted((output / ".checkpoints").rglob("*"))] == ["checkpoint-7", "mine"]
