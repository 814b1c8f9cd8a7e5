"""Timeouts, memory limits and crashes: processes are ended with all their children, and the causes recorded."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stub_rounds import audited_pids, start_sweep, states_of, wait_for_audit, wait_until_gone
from stub_sweep import plan_of

from sft.launchers.base import Resources, Status
from sft.results.schema import RunState
from sft.results.store import ResultStore, RunFolder
from sft.sweep.endings import failure_of, state_after

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("isolation", "number", "timeout"),
    [
        ("fork", 6, 3),
        pytest.param("fork", 20, 3, marks=pytest.mark.long),
        pytest.param("spawn", 20, 10, marks=pytest.mark.long),
    ],
)
def test_hanging_processes_and_their_children_are_ended_soon_after_the_timeout(
    tmp_path: Path, isolation: str, number: int, timeout: int
) -> None:
    results = tmp_path / "results"
    names = "abcdefghijklmnopqrst"[:number]
    arguments = ("--number", str(number), "--jobs", str(number), "--isolation", isolation, "--timeout", str(timeout))
    process = start_sweep(results, *arguments, stub=dict.fromkeys(names, "hang family"))
    wait_for_audit(results, "hangs", number // 2)  # on a slow machine some time out before
    started = max(state["started"] for state in states_of(results).values())
    while len(states_of(results)) < number and process.poll() is None:
        time.sleep(0.05)
    started = max(started, *(state["started"] for state in states_of(results).values()))
    time.sleep(max(0.0, started + timeout - time.time()))
    wait_until_gone(audited_pids(results), started + timeout + 5 - time.time())
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    states = states_of(results)
    assert len(states) == number
    assert {(state["state"], state["error"]) for state in states.values()} == {
        ("timeout", f"took longer than {timeout} s")
    }, output
    again = start_sweep(results, *arguments)
    assert "nothing to run" in again.communicate(timeout=30)[0]
    assert again.returncode == 1


@pytest.mark.parametrize("isolation", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_an_experiment_over_its_memory_limit_is_killed(tmp_path: Path, isolation: str) -> None:
    results, limit = tmp_path / "results", 300 * 2**20
    arguments = ("--number", "2", "--isolation", isolation, "--memory", str(limit), "--no-oom-retry")
    process = start_sweep(results, *arguments, stub={"a": "eat"})
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    states = states_of(results)
    assert (states["a"]["state"], states["b"]["state"]) == ("oom", "done"), output
    assert "used more than 0.3 GiB of memory" in states["a"]["error"]
    assert "used more than" in output


def test_an_experiment_out_of_memory_is_retried_with_half_the_batch(tmp_path: Path) -> None:
    """`a` and `b` fit after one and two halvings, `c` never does; the halvings are recorded."""
    results = tmp_path / "results"
    stub = {"a": "oom1", "b": "oom2", "c": "oom9"}
    process = start_sweep(results, "--number", "4", stub=stub)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    states = {name: (state["state"], state["halvings"]) for name, state in states_of(results).items()}
    assert states == {"a": ("done", 1), "b": ("done", 2), "c": ("oom", 4), "d": ("done", 0)}, output
    assert output.count("again    c") == 4
    assert "MemoryError: no memory for the batch" in states_of(results)["c"]["error"]


def test_after_a_kill_before_the_retry_the_next_sweep_halves_the_batch(tmp_path: Path) -> None:
    """The state `oom` that the experiment itself wrote does not end its retries."""
    results = tmp_path / "results"
    (experiment,) = plan_of(1).experiments
    folder = ResultStore(results).folder(experiment.id, experiment.slug)
    folder.write_state(RunState(state="oom", error="MemoryError: no room", exit_code=1, pid=os.getpid(), halvings=1))
    process = start_sweep(results, "--number", "1", "--no-oom-retry", stub={"a": "oom2"})
    process.communicate(timeout=60)
    assert (process.returncode, states_of(results)["a"]["halvings"]) == (1, 1), "not with --no-oom-retry"
    process = start_sweep(results, "--number", "1", stub={"a": "oom2"})
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert (states_of(results)["a"]["state"], states_of(results)["a"]["halvings"]) == ("done", 2)
    assert "again" not in output, "a batch that did not fit is not repeated"


def test_no_oom_retry_makes_a_single_attempt(tmp_path: Path) -> None:
    results = tmp_path / "results"
    process = start_sweep(results, "--number", "1", "--no-oom-retry", stub={"a": "oom1"})
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert (states_of(results)["a"]["state"], states_of(results)["a"]["halvings"]) == ("oom", 0)


def test_causes_of_failures_are_distinguished(tmp_path: Path) -> None:
    results = tmp_path / "results"
    stub = {"a": "crash", "b": "die", "c": "wrong", "d": "die 137"}
    process = start_sweep(results, "--number", "5", "--jobs", "5", stub=stub)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    states = {name: (state["state"], state["error"], state["exit_code"]) for name, state in states_of(results).items()}
    killed = "ended by SIGKILL (killed from outside, or by the system for lack of memory)"
    assert states["a"] == ("failed", "RuntimeError: the bottom fell out", 1)
    assert states["b"] == ("failed", killed, -9)
    assert states["c"] == ("failed", "no such column", 2)
    assert states["d"][0::2] == ("failed", 137), output
    assert "SIGKILL" in states["d"][1]
    assert states["e"][0] == "done"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = ResultStore(tmp_path).folder("0123456789ab", "a-run")
    folder.write_state(RunState(state="running", started=1.0, pid=os.getpid(), halvings=1))
    return folder


@pytest.mark.parametrize(
    ("status", "memory", "state", "error"),
    [
        (Status(-9, 1.0, "memory"), None, "oom", "killed by the system for lack of memory"),
        (Status(-9, 1.0, "memory"), 2**30, "oom", "killed by the system for lack of memory"),
        (Status(-9, 1.0, "limit"), 2**30, "oom", "used more than 1.0 GiB of memory"),
        (Status(-15, 1.0, "timeout"), None, "timeout", "took longer than 5 s"),
        (Status(143, 1.0, "timeout"), None, "timeout", "took longer than 5 s"),
        (Status(-9, 1.0), None, "failed", "ended by SIGKILL"),
        (Status(137, 1.0), None, "failed", "ended by SIGKILL"),
        (Status(-11, 1.0), None, "failed", "ended by SIGSEGV"),
        (Status(-40, 1.0), None, "failed", "ended by signal 40"),
        (Status(0, 1.0), None, "failed", "ended with exit code 0 and no result"),
        (
            Status(1, 1.0),
            None,
            "failed",
            "ended with exit code 1 before it opened its log; has the program changed since",
        ),
    ],
)
def test_an_exit_status_becomes_a_state(
    folder: RunFolder, status: Status, memory: int | None, state: str, error: str
) -> None:
    recorded = state_after(folder, status, Resources(seconds=5, memory=memory))
    assert (recorded.state, recorded.halvings) == (state, 1)
    assert error in recorded.error
    assert recorded.exit_code


def test_the_runs_own_error_is_used_if_it_ended_by_itself(folder: RunFolder) -> None:
    folder.write_state(RunState(state="failed", error="ValueError: boom", exit_code=1))
    assert state_after(folder, Status(1, 1.0), Resources()).error == "ValueError: boom"
    folder.log_file.write_text("Traceback …\nValueError: boom\n", encoding="utf-8")
    assert failure_of("a", folder).error == "ValueError: boom"


def test_without_a_final_state_the_last_line_of_the_log_is_the_error(folder: RunFolder) -> None:
    folder.log_file.write_text("Traceback …\nImportError: no such module\n", encoding="utf-8")
    recorded: Any = state_after(folder, Status(1, 1.0), Resources())
    assert recorded.error == "ImportError: no such module"
    assert json.loads((folder.path / "state.json").read_text())["state"] == "running"  # the sweep writes the state
