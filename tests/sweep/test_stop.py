"""A sweep that is stopped: every child is asked and waited for, and what happened is said and written."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from sft.config.load import Grid
from sft.config.schema import ExperimentConfig
from sft.launchers.base import Job, Status
from sft.results.store import ResultStore
from sft.sweep import run as sweep_module
from sft.sweep.display import Display
from sft.sweep.jobs import make_plan
from sft.sweep.outcome import SweepOutcome
from sft.sweep.preflight import Checked
from sft.sweep.run import Sweep, SweepOptions


class FakeLauncher:
    """Jobs that note what is done to them; the last one started raises `error` when it is looked at."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.events, self.number = error, list[str](), 0

    def start(self, job: Job) -> FakeJob:
        self.number += 1
        return FakeJob(self, self.number)


class FakeJob:
    def __init__(self, launcher: FakeLauncher, number: int) -> None:
        self.launcher, self.number = launcher, number

    def poll(self) -> Status | None:
        if self.number == self.launcher.number:
            raise self.launcher.error
        return None

    def ask_to_end(self) -> None:
        self.launcher.events.append(f"ask {self.number}")

    def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)  # an impatient second Ctrl-C
        self.launcher.events.append(f"stop {self.number}")


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Three zero-shot experiments, two at a time."""
    configs = {
        name: ExperimentConfig.model_validate(
            {
                "dataset": {"path": "hub/data", "task_type": "classification"},
                "model": {"name": "hub/model"},
                "prompting": {"input_columns": ["text"], "output_column": "label", "instruction": name},
                "inference": {},
            }
        )
        for name in "abc"
    }
    plan = make_plan(Grid(Path("grid.jsonnet"), configs), None)
    return Sweep(plan, plan.experiments, ResultStore(tmp_path / "results"), SweepOptions(tmp_path, jobs=2))


def run_with(sweep: Sweep, launcher: FakeLauncher) -> SweepOutcome:
    sweep._launcher = launcher
    with Display(3, 2, Console(file=io.StringIO())) as display:
        return sweep.run(display)


def hear_hangups() -> None:
    """Where the tests run under nohup, the sweep still hears SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def nothing_wrong(*_: object) -> Checked:
    return Checked({})


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143), (SystemExit(129), 129)]
)
def test_all_children_are_asked_before_any_is_waited_for(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    monkeypatch.setattr(sweep_module, "check_data", nothing_wrong)
    launcher = FakeLauncher(error)
    outcome = run_with(sweep, launcher)
    assert launcher.events == ["ask 1", "ask 2", "stop 1", "stop 2"]
    assert outcome.exit_code == code
    assert [(failure.name, failure.state, failure.retried) for failure in outcome.failed] == [
        ("a", "interrupted", True),
        ("b", "interrupted", True),
    ]
    assert outcome.not_started == ("c",)


def test_a_bug_leaves_no_child_behind(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "check_data", nothing_wrong)
    launcher = FakeLauncher(OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        run_with(sweep, launcher)
    assert launcher.events == ["ask 1", "ask 2", "stop 1", "stop 2"]


def test_a_stop_while_the_data_is_checked_counts_what_was_not_started(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Checked:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep_module, "check_data", interrupted)
    outcome = run_with(sweep, FakeLauncher(KeyboardInterrupt()))
    assert outcome.not_started == ("a", "b", "c")
    assert outcome.exit_code == 130


def test_a_refusal_keeps_the_earlier_log(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    problems: Mapping[str, str] = {experiment.id: "no column" for experiment in sweep.to_run}
    monkeypatch.setattr(sweep_module, "check_data", lambda *_: Checked(problems))
    folder = sweep._folder(sweep.to_run[0])
    folder.write_config({})
    folder.log_file.write_text("what an earlier run said\n", encoding="utf-8")
    outcome = run_with(sweep, FakeLauncher(KeyboardInterrupt()))
    assert [failure.error for failure in outcome.failed] == ["no column"] * 3
    assert folder.log_file.read_text(encoding="utf-8") == "what an earlier run said\nno column\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_sweep_reports_and_leaves_nobody(
    tmp_path: Path, make_config: Callable[..., dict[str, Any]], number: signal.Signals
) -> None:
    configs = {
        name: make_config(dataset__shots=0, lora=None, training=None, prompting__instruction=name) for name in "ab"
    }
    grid, results = tmp_path / "grid.json", tmp_path / "results"
    grid.write_text(json.dumps({"configs": configs}), encoding="utf-8")
    command = [sys.executable, "-m", "sft.cli", "run-experiments", str(grid), "--results-path", str(results)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=hear_hangups)  # noqa: PLW1509
    child, deadline = None, time.monotonic() + 120
    while child is None:
        assert time.monotonic() < deadline, "nothing ran"
        states = [json.loads(file.read_text()) for file in results.glob("runs/a-*/state.json")]
        child = next((psutil.Process(state["pid"]) for state in states if state["pid"]), None)
        time.sleep(0.01)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert not child.is_running()
    assert f"({number.name}). 2 configurations, 1 seed · 0 done, 1 interrupted, 1 not started" in output
    assert "try the 2 experiments" in output
    report = json.loads((results / "aggregated_results.json").read_text())
    assert {run["name"]: run["state"] for run in report["runs"]} == {"a": "interrupted", "b": "missing"}
