"""Retries, and what another sweep sees of them meanwhile."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.errors import UserError
from sft.io import WriteError
from sft.launchers.base import Job, Status
from sft.results.schema import RunResult, RunState
from sft.results.store import ResultStore, RunFolder
from sft.sweep import run as sweep_module
from sft.sweep.outcome import SweepOutcome
from sft.sweep.planning.jobs import Plan, make_plan, run_status
from sft.sweep.planning.options import SweepOptions
from sft.sweep.preflight import Checked
from sft.sweep.run import Sweep
from sft.sweep.screen.display import Display
from sft.sweep.single import load_experiment


class Ended:
    """A job that has ended at the first poll."""

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> Status:
        return Status(self.code, 0.1)

    def ask_to_end(self, number: int = 15) -> None: ...
    def kill(self) -> None: ...


class Launcher:
    """Call `work(folder, halvings)` immediately for each job; it returns the exit code."""

    def __init__(self, work: Callable[[RunFolder, int], int]) -> None:
        self.work, self.halvings = work, list[int]()

    def ready(self) -> bool:
        return True

    def start(self, job: Job) -> Ended:
        self.halvings.append(int(job.argv[job.argv.index("--halvings") + 1]))
        return Ended(self.work(RunFolder(job.log_file.parent), self.halvings[-1]))

    def close(self) -> None: ...


@pytest.fixture
def plan() -> Plan:
    """Return a plan of one experiment that trains in batches of eight."""
    data = {
        "dataset": {"path": "hub/data", "task_type": "classification", "shots": 4},
        "model": {"name": "hub/model"},
        "lora": {"r": 8},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "training": {},
        "inference": {},
    }
    return make_plan(Grid(Path("grid.jsonnet"), {"a": ExperimentConfig.model_validate(data)}), None)


@pytest.fixture(autouse=True)
def no_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "check_data", lambda *_: Checked({}))


def run(plan: Plan, folder: Path, launcher: Launcher, **options: Any) -> SweepOutcome:
    sweep = Sweep(plan, plan.experiments, ResultStore(folder), SweepOptions(folder, **options), launcher)
    with Display(1, 1, Console(file=io.StringIO())) as display:
        return sweep.run(display)


def finish(folder: RunFolder) -> int:
    empty: dict[str, Any] = {name: {} for name in (
        "config", "results", "shots", "training", "timings", "resources", "environment", "data",
    )}  # fmt: skip
    folder.write_result(
        RunResult(
            name="a", id=folder.id, recipe_id="r", seed=13, endpoint="run-experiment", labelled_examples=0, **empty
        )
    )
    return 0


def hungry(folder: RunFolder, halvings: int) -> int:
    """Succeed with a quarter of the batch, else be out of memory."""
    if halvings >= 2:
        return finish(folder)
    folder.write_state(RunState(state="oom", error="MemoryError", exit_code=1, halvings=halvings))
    return 1


def test_the_batch_is_halved_until_it_fits_into_memory(plan: Plan, tmp_path: Path) -> None:
    launcher = Launcher(hungry)
    assert run(plan, tmp_path, launcher).succeeded == ("a",)
    assert launcher.halvings == [0, 1, 2]
    assert run(plan, tmp_path, launcher).skipped == ("a",)


def test_an_experiment_fails_without_retries_or_when_the_batch_cannot_be_halved(plan: Plan, tmp_path: Path) -> None:
    never = Launcher(lambda folder, halvings: hungry(folder, 0))
    outcome = run(plan, tmp_path, never)
    assert never.halvings == [0, 1, 2, 3]
    assert [(failure.state, failure.retried) for failure in outcome.failed] == [("oom", False)]
    once = Launcher(hungry)
    assert run(plan, tmp_path / "other", once, oom_retry=False).exit_code == 1
    assert once.halvings == [0]


def test_another_sweep_cannot_claim_between_two_attempts(plan: Plan, tmp_path: Path) -> None:
    """The claim is kept from the first attempt to the last."""
    (experiment,) = plan.experiments
    claims = []

    def work(folder: RunFolder, halvings: int) -> int:
        claims.append(ResultStore(tmp_path).lock(experiment.id, "claim").acquire())
        return hungry(folder, halvings)

    run(plan, tmp_path, Launcher(work))
    assert claims == [False, False, False]
    assert ResultStore(tmp_path).lock(experiment.id, "claim").acquire()


def test_an_interrupted_retry_continues_in_the_next_sweep(plan: Plan, tmp_path: Path) -> None:
    def killed_after_the_first(folder: RunFolder, halvings: int) -> int:
        if halvings:
            raise KeyError("the parent dies here")
        return hungry(folder, halvings)

    with pytest.raises(KeyError):
        run(plan, tmp_path, Launcher(killed_after_the_first))
    (experiment,) = plan.experiments
    assert run_status(ResultStore(tmp_path).folder(experiment.id, experiment.slug), False) == "to run"
    launcher = Launcher(hungry)
    assert run(plan, tmp_path, launcher).succeeded == ("a",)
    assert launcher.halvings == [1, 2]


def test_an_earlier_failure_is_retried_even_if_clocks_differ(plan: Plan, tmp_path: Path) -> None:
    (experiment,) = plan.experiments
    folder = ResultStore(tmp_path).folder(experiment.id, experiment.slug)
    ahead = RunState(state="failed", error="boom", exit_code=1, updated=4e9)
    folder.path.mkdir(parents=True)
    (folder.path / "state.json").write_text(ahead.model_dump_json(), encoding="utf-8")
    assert run(plan, tmp_path, Launcher(lambda f, _: finish(f)), retry_failed=True).succeeded == ("a",)


def test_a_failure_in_another_sweep_meanwhile_is_not_repeated(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (experiment,) = plan.experiments

    def fails_elsewhere(*_: object) -> Checked:
        folder = ResultStore(tmp_path).folder(experiment.id, experiment.slug)
        folder.write_state(RunState(state="failed", error="boom elsewhere", exit_code=1))
        return Checked({})

    monkeypatch.setattr(sweep_module, "check_data", fails_elsewhere)
    launcher = Launcher(lambda folder, _: finish(folder))
    assert [failure.error for failure in run(plan, tmp_path, launcher).failed] == ["boom elsewhere"]
    assert launcher.halvings == []


def test_a_full_disk_stops_starting_experiments_without_failing_them(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise WriteError("config.json cannot be written: No space left on device", errno.ENOSPC)

    monkeypatch.setattr(RunFolder, "write_config", full)
    outcome = run(plan, tmp_path, Launcher(lambda folder, _: finish(folder)))
    assert (outcome.failed, outcome.not_started, outcome.exit_code) == ((), ("a",), 1)


def test_a_child_runs_only_the_planned_experiment(
    tmp_path: Path, make_config: Callable[..., dict[str, Any]], data_folder: Path
) -> None:
    copy = tmp_path / "data"
    copy.mkdir()
    for file in data_folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "config.json"
    path.write_text(json.dumps(make_config(dataset__path=str(copy))), encoding="utf-8")
    planned = load_experiment(path, "run-experiment", None).id
    assert load_experiment(path, "run-experiment", None, expected=planned).id == planned
    with (copy / "train.csv").open("a", encoding="utf-8") as file:
        file.write("one more,good\n")
    with pytest.raises(UserError, match="have changed since the sweep was planned; run the same command again"):
        load_experiment(path, "run-experiment", None, expected=planned)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "another sweep has claimed it, but not started it yet"),
        (
            RunState(state="running", pid=4711, host="node7", started=1.7e9),
            "process 4711 on node7 has been running it since 2023-11-1",
        ),
    ],
)
def test_after_a_silence_the_holders_of_claims_are_reported(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: RunState | None, message: str
) -> None:
    monkeypatch.setattr(sweep_module, "SECONDS_OF_SILENCE", 0.3)
    (experiment,) = plan.experiments
    store = ResultStore(tmp_path)
    held = store.lock(experiment.id, "claim")
    assert held.acquire()
    if state is not None:
        store.folder(experiment.id, experiment.slug).write_state(state)
    warned: list[str] = []

    def warning(self: Display, text: str) -> None:
        warned.append(text)
        held.release()  # as if the process had ended

    monkeypatch.setattr(Display, "warning", warning)
    run(plan, tmp_path, Launcher(lambda *_: 1))
    (line,) = warned
    assert line.startswith(f"{experiment.name}: {message}")
    assert "waiting for that" in line
