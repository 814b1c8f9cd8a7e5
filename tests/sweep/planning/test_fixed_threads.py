"""The threads of a sweep: fixed in its plan, used again when resuming, changed only by the user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.results.schema import RunResult
from sft.results.store import ResultStore
from sft.sweep.planning import fixed_threads
from sft.sweep.planning.fixed_threads import Threads, describe_threads, planned_threads, settle_threads
from sft.sweep.planning.jobs import Plan, config_of, make_plan, write_plan

DEFAULT = 8


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed_threads, "default_threads", lambda at_a_time: DEFAULT // at_a_time)
    monkeypatch.setattr("sft.threads.usable_processors", lambda: DEFAULT)


def plan_of(*instructions: str) -> Plan:
    """Return a plan of zero-shot experiments."""
    section = {"dataset": {"path": "hub/data", "task_type": "classification"}, "model": {"name": "hub/model"}}
    prompting = {"input_columns": ["text"], "output_column": "label"}
    configs = {
        name: ExperimentConfig.model_validate(
            {**section, "inference": {}, "prompting": {**prompting, "instruction": name}}
        )
        for name in instructions
    }
    return make_plan(Grid(Path("grid.jsonnet"), configs), None)


def finish(store: ResultStore, plan: Plan, number: int, resources: dict[str, Any]) -> None:
    """Write the result of an experiment."""
    experiment = plan.experiments[number]
    store.folder(experiment.id, experiment.slug).write_result(
        RunResult(
            name=experiment.name, id=experiment.id, recipe_id=experiment.recipe_id, seed=experiment.seed,
            endpoint=experiment.endpoint, config=config_of(experiment), results={"accuracy": 0.5}, shots={},
            labelled_examples=0, training={}, timings={}, resources=resources, environment={}, data={},
        )
    )  # fmt: skip


def test_a_new_sweep_uses_the_default_for_its_number_of_jobs(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    assert settle_threads(plan_of(*"abcd"), store, None, 4) == (2, None, 2)
    assert settle_threads(plan_of(*"abcd"), store, 3, 4) == (3, None, 2)
    assert settle_threads(plan_of("a"), store, None, 4) == (8, None, 8), "a single experiment uses all"


def test_a_sweep_keeps_the_threads_of_its_plan_with_other_jobs(tmp_path: Path) -> None:
    store, plan = ResultStore(tmp_path), plan_of(*"abcd")
    write_plan(plan, store, 8)
    assert json.loads(store.plan_file.read_text())["threads"] == 8
    assert [settle_threads(plan, store, None, jobs).number for jobs in (1, 2, 4)] == [8, 8, 8]
    assert settle_threads(plan_of(*"dxyz"), store, None, 4).number == 8, "a grid that has grown"
    assert settle_threads(plan, store, 5, 4) == (5, 8, 2)


def test_another_grid_in_the_same_folder_has_its_own_threads(tmp_path: Path) -> None:
    store, first, second = ResultStore(tmp_path), plan_of(*"ab"), plan_of(*"xy")
    finish(store, first, 1, {"threads": 6})
    write_plan(second, store, 3)
    assert settle_threads(second, store, None, 1).number == 3
    assert settle_threads(plan_of("z"), store, None, 1).number == 8
    assert settle_threads(first, store, None, 2).number == 6, "from its finished run"


@pytest.mark.parametrize("resources", [{}, {"threads": None}, {"threads": 0}, {"threads": True}, {"threads": "two"}])
def test_earlier_runs_without_threads_are_ignored(tmp_path: Path, resources: dict[str, Any]) -> None:
    store, plan = ResultStore(tmp_path), plan_of(*"ab")
    write_plan(plan, store)
    finish(store, plan, 0, resources)
    assert settle_threads(plan, store, None, 1) == (8, None, 8)


@pytest.mark.parametrize("text", ["{", "[]", '{"threads": 4}', '{"threads": "4", "experiments": [{"id": "x"}]}',
                                  '{"threads": -1, "experiments": [{"id": "x"}]}',
                                  '{"threads": 4, "experiments": [7, {"id": "y"}]}'])  # fmt: skip
def test_a_plan_without_valid_threads_is_ignored(tmp_path: Path, text: str) -> None:
    store = ResultStore(tmp_path)
    store.plan_file.write_text(text)
    assert planned_threads(store, ["x"]) is None


@pytest.mark.parametrize(
    ("threads", "done", "at_a_time", "expected"),
    [
        (Threads(8, None, 8), 0, 1, None),
        (Threads(8, 8, 8), 3, 1, None),
        (Threads(4, 4, 8), 3, 1, "4, as at the start of this sweep (change with --threads N)"),
        (
            Threads(8, 8, 4),
            3,
            2,
            "8, as at the start of this sweep (change with --threads N). 2 at a time share 8 processors",
        ),
        (Threads(4, 8, 8), 0, 1, None),
        (
            Threads(4, 8, 8),
            1,
            1,
            "4, but finished runs used 8. Figures can differ in the last digits; the report names",
        ),
    ],
)
def test_unexpected_threads_are_described(threads: Threads, done: int, at_a_time: int, expected: str | None) -> None:
    lines = describe_threads(threads, done, at_a_time)
    assert len(lines) == (expected is not None)
    if expected is not None:
        assert lines[0].startswith(f"Threads per experiment: {expected}")


def sweep(grid: Path, results: Path, *arguments: str) -> str:
    """Run a real sweep and return its output."""
    command = [sys.executable, "-m", "sft.cli", "run-experiments", str(grid), "--results-path", str(results)]
    kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    answer = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=kept)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def outputs_of(results: Path) -> dict[str, Any]:
    """Return the outputs of each run and its threads."""
    outputs: dict[str, Any] = {}
    for run in sorted((results / "runs").iterdir()):
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        files = [*run.glob("*.tsv"), *run.glob("*.safetensors"), *run.glob("adapter/*.safetensors")]
        outputs[run.name] = {file.name: file.read_bytes() for file in files}
        outputs[run.name] |= {"results": result["results"], "losses": result["training"]["loss_history"]}
        outputs[run.name] |= {"threads": result["resources"]["threads"]}
    return outputs


@pytest.mark.long
def test_a_sweep_resumed_with_other_jobs_is_bit_identical(tmp_path: Path, repository: Path) -> None:
    """The model is large enough that the number of threads matters."""
    config = json.loads((repository / "etc/configs/json/demo.json").read_text(encoding="utf-8"))
    config["dataset"] |= {"path": str(repository / "etc/demo/data/sentiment"), "max_n_test": 20}
    config["model"]["name"] = str(repository / "etc/demo/model")
    config["training"]["trainer_args"]["max_steps"] = 3
    del config["$schema"], config["name"]
    grid = tmp_path / "grid.json"
    grid.write_text(json.dumps({"configs": {"a": config}, "seeds": [1, 2]}), encoding="utf-8")
    resumed, at_once = tmp_path / "resumed", tmp_path / "at once"
    sweep(grid, resumed, "--threads", "2", "--only", "*seed=1")
    assert json.loads((resumed / "plan.json").read_text())["threads"] == 2
    sweep(grid, resumed, "--jobs", "2", "--isolation", "spawn")
    sweep(grid, at_once, "--jobs", "2", "--threads", "2")
    outputs = outputs_of(resumed)
    assert [run["threads"] for run in outputs.values()] == [2, 2]
    assert [len(run) for run in outputs.values()] == [6, 6]
    assert outputs == outputs_of(at_once)
