"""Stopping a sweep: every child gets a signal and is waited for, and the outcome is printed and written."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from sft.launchers.base import Job, Status
from sft.results.store import ResultStore
from sft.sweep import run as sweep_module
from sft.sweep.outcome import SweepOutcome
from sft.sweep.preflight import Checked
from sft.sweep.run import Sweep
from sft.sweep.screen.display import Display

sys.path.insert(0, str(Path(__file__).parent))
from stub_rounds import audit_lines, audited_pids, start_sweep, states_of, wait_for_audit, wait_until_gone
from stub_sweep import options_of, plan_of

BOTH = ["fork", pytest.param("spawn", marks=pytest.mark.long)]


class FakeLauncher:
    """Start jobs that record calls; the last one raises or sends `last` when it is polled."""

    def __init__(self, last: BaseException | signal.Signals, number: int = 2) -> None:
        self.last, self.number, self.events, self.started = last, number, list[str](), 0

    def ready(self) -> bool:
        return True

    def start(self, job: Job) -> FakeJob:
        self.started += 1
        return FakeJob(self, self.started)

    def close(self) -> None:
        self.events.append("closed")


class FakeJob:
    def __init__(self, launcher: FakeLauncher, number: int) -> None:
        self.launcher, self.number, self.killed = launcher, number, False

    def poll(self) -> Status | None:
        if self.killed:
            return Status(-9, 0.0)
        if self.number == self.launcher.number and "ask" not in " ".join(self.launcher.events):
            if isinstance(self.launcher.last, BaseException):
                raise self.launcher.last
            os.kill(os.getpid(), self.launcher.last)
        return None

    def ask_to_end(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.launcher.events.append(f"ask {self.number} {number.name}")

    def kill(self) -> None:
        self.killed = True
        self.launcher.events.append(f"kill {self.number}")


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Return a sweep of three zero-shot experiments, two at a time."""
    plan = plan_of(3)
    return Sweep(plan, plan.experiments, ResultStore(tmp_path / "results"), options_of(isolation="spawn"))


def run_with(sweep: Sweep, launcher: FakeLauncher) -> SweepOutcome:
    sweep._launcher = launcher
    with Display(3, 2, Console(file=io.StringIO())) as display:
        return sweep.run(display)


def no_problems(*_: object) -> Checked:
    return Checked({})


@pytest.mark.parametrize(
    ("number", "sent"),
    [
        (signal.SIGINT, "SIGTERM"),
        (signal.SIGTERM, "SIGTERM"),
        (signal.SIGHUP, "SIGTERM"),
        (signal.SIGUSR1, "SIGUSR1"),
        (signal.SIGUSR2, "SIGUSR2"),
    ],
)
def test_all_children_get_a_signal_before_any_is_waited_for(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, sent: str
) -> None:
    monkeypatch.setattr(sweep_module, "check_data", no_problems)
    monkeypatch.setattr("sft.sweep.stopping.SHORT_GRACE_SECONDS", 0.2)
    monkeypatch.setattr("sft.sweep.stopping.GRACE_SECONDS", {})
    monkeypatch.setattr("sft.sweep.stopping.leave_terminal", lambda: None)
    launcher = FakeLauncher(number)
    outcome = run_with(sweep, launcher)
    assert launcher.events == [f"ask 1 {sent}", f"ask 2 {sent}", "kill 1", "kill 2", "closed"]
    assert outcome.exit_code == 128 + number
    assert [(failure.name, failure.state, failure.retried) for failure in outcome.failed] == [
        ("a", "interrupted", True),
        ("b", "interrupted", True),
    ]
    assert outcome.not_started == ("c",)


def test_a_bug_leaves_no_child_behind(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "check_data", no_problems)
    monkeypatch.setattr("sft.sweep.stopping.SHORT_GRACE_SECONDS", 0.2)
    launcher = FakeLauncher(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        run_with(sweep, launcher)
    assert launcher.events[:4] == ["ask 1 SIGTERM", "ask 2 SIGTERM", "kill 1", "kill 2"]


def test_a_display_that_breaks_leaves_no_child_behind(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the reader of the output had closed it: every line is an error."""
    monkeypatch.setattr(sweep_module, "check_data", no_problems)
    launcher = FakeLauncher(signal.SIGCONT)
    sweep._launcher = launcher
    with Display(3, 2, Console(file=io.StringIO())) as display:
        monkeypatch.setattr(display, "tick", lambda *_: (_ for _ in ()).throw(BrokenPipeError(32, "Broken pipe")))
        with pytest.raises(BrokenPipeError):
            sweep.run(display)
    assert {"kill 1", "kill 2"} <= set(launcher.events)


def test_a_stop_during_the_data_check_counts_experiments_not_started(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> Checked:
        os.kill(os.getpid(), signal.SIGINT)
        assert arguments[3]()  # type: ignore[operator]
        return Checked({})

    monkeypatch.setattr(sweep_module, "check_data", interrupted)
    outcome = run_with(sweep, FakeLauncher(signal.SIGINT))
    assert outcome.not_started == ("a", "b", "c")
    assert outcome.exit_code == 130


def test_a_rejected_experiment_keeps_its_earlier_log(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    problems: Mapping[str, str] = {experiment.id: "no column" for experiment in sweep.to_run}
    monkeypatch.setattr(sweep_module, "check_data", lambda *_: Checked(problems))
    folder = sweep._folder(sweep.to_run[0])
    folder.write_config({})
    folder.log_file.write_text("output of an earlier run\n", encoding="utf-8")
    outcome = run_with(sweep, FakeLauncher(signal.SIGINT))
    assert [failure.error for failure in outcome.failed] == ["no column"] * 3
    assert folder.log_file.read_text(encoding="utf-8") == "output of an earlier run\nno column\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "isolation"),
    [
        (signal.SIGINT, "fork"),
        pytest.param(signal.SIGTERM, "spawn", marks=pytest.mark.long),
        pytest.param(signal.SIGHUP, "fork", marks=pytest.mark.long),
    ],
)
def test_a_stopped_sweep_reports_and_leaves_no_process(tmp_path: Path, number: signal.Signals, isolation: str) -> None:
    """`a` is done, `b` ignores signals and has children, `c` would end, `d` never starts."""
    results = tmp_path / "results"
    stub = {"b": "hang family", "c": "wait"}
    process = start_sweep(results, "--number", "4", "--isolation", isolation, "--grace", "1.5", stub=stub)
    wait_for_audit(results, "hangs")
    wait_for_audit(results, "begin", 3)
    os.killpg(process.pid, number)  # like a terminal, which also sends it to the fork server
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + number, output
    assert {name: state["state"] for name, state in states_of(results).items()} == {
        "a": "done", "b": "interrupted", "c": "interrupted",
    }  # fmt: skip
    assert "1 done, 2 interrupted, 1 not started" in output
    assert "try the 3 experiments" in output
    assert "Traceback" not in output
    report = json.loads((results / "aggregated_results.json").read_text())
    assert [run["state"] for run in report["runs"]] == ["done", "interrupted", "interrupted", "missing"]
    wait_until_gone(audited_pids(results), 5)
    assert not list(results.glob(".locks/*"))


@pytest.mark.slow
@pytest.mark.parametrize("isolation", BOTH)
def test_ctrl_c_twice_ends_the_sweep_immediately(tmp_path: Path, isolation: str) -> None:
    results = tmp_path / "results"
    process = start_sweep(
        results, "--number", "3", "--isolation", isolation, "--grace", "60", stub={"a": "hang family", "b": "hang"}
    )
    wait_for_audit(results, "hangs", 2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)  # of the 60 seconds of grace
    assert process.returncode == 130
    assert "Traceback" not in output
    wait_until_gone(audited_pids(results), 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "isolation"),
    [(signal.SIGUSR1, "fork"), pytest.param(signal.SIGUSR2, "spawn", marks=pytest.mark.long)],
)
def test_a_schedulers_signal_lets_children_save(tmp_path: Path, number: signal.Signals, isolation: str) -> None:
    results = tmp_path / "results"
    process = start_sweep(results, "--number", "2", "--isolation", isolation, stub={"a": "save", "b": "save"})
    wait_for_audit(results, "begin", 2)
    time.sleep(0.2)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    saved = [line.split()[1] for line in audit_lines(results) if line.startswith("saved")]
    assert saved == [str(int(number))] * 2, output
    assert {state["state"] for state in states_of(results).values()} == {"interrupted"}


@pytest.mark.slow
@pytest.mark.parametrize("second", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_ctrl_c_ends_the_long_wait_for_children_that_save(tmp_path: Path, second: signal.Signals) -> None:
    """Further signals of the scheduler do not, as some schedulers send several."""
    results = tmp_path / "results"
    process = start_sweep(results, "--number", "1", stub={"a": "hang family"})
    wait_for_audit(results, "hangs")
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        process.send_signal(number)
        time.sleep(0.4)
    assert process.poll() is None
    process.send_signal(second)
    process.communicate(timeout=15)  # instead of 600 seconds
    assert process.returncode == 128 + signal.SIGUSR1
    wait_until_gone(audited_pids(results), 5)


@pytest.mark.slow
@pytest.mark.parametrize("isolation", BOTH)
def test_a_stop_during_the_data_check_leaves_no_process(tmp_path: Path, isolation: str) -> None:
    results = tmp_path / "results"
    process = start_sweep(results, "--isolation", isolation, STUB_CHECK="hang")
    wait_for_audit(results, "hangs")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert "12 not started" in output
    wait_until_gone(audited_pids(results), 5)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stop_during_the_imports_of_the_fork_server_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    results = tmp_path / "results"
    process = start_sweep(results, "--preload", "stub_slow", STUB_IMPORT="60")
    wait_for_audit(results, "imports")
    process.send_signal(number)
    process.communicate(timeout=25)  # of the 60 seconds that the import takes
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    wait_until_gone(audited_pids(results), 5)


@pytest.mark.slow
@pytest.mark.parametrize("isolation", BOTH)
def test_no_process_outlives_a_killed_sweep(tmp_path: Path, isolation: str) -> None:
    """Not even a child that ignores signals, or its child in another session."""
    results = tmp_path / "results"
    process = start_sweep(results, "--number", "1", "--isolation", isolation, stub={"a": "hang family"})
    wait_for_audit(results, "hangs")
    process.kill()
    process.communicate(timeout=10)
    wait_until_gone(audited_pids(results), 10)


@pytest.mark.slow
def test_a_closed_output_does_not_stop_the_sweep(tmp_path: Path) -> None:
    results = tmp_path / "results"
    process = start_sweep(results, "--number", "3", "--jobs", "1", STUB_SECONDS="0.5")
    assert process.stdout is not None
    wait_for_audit(results, "begin")
    process.stdout.close()
    assert process.wait(30) == 0
    assert len(list(results.glob("runs/*/result.json"))) == 3
    assert (results / "aggregated_results.md").exists()
    wait_until_gone(audited_pids(results), 6)
