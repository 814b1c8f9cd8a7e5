"""A real sweep: one experiment killed, one with a wrong column, the others finish; then only those two run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "sft.cli", "run-experiments"]


def write_grid(path: Path, make_config: Callable[..., dict[str, Any]], broken: str) -> Path:
    """Write a grid of four zero-shot experiments with different instructions; one reads the column `broken`."""
    configs = {
        f"instruction {n}": make_config(
            dataset__shots=0, lora=None, training=None, prompting__instruction=f"Question {n}: how is it?"
        )
        for n in range(4)
    }
    configs["instruction 3"]["prompting"]["input_columns"] = [broken]
    path.write_text(json.dumps({"configs": configs}), encoding="utf-8")
    return path


def kill_when_running(results: Path, name: str, deadline: float) -> None:
    """Send SIGKILL to the process of the experiment `name` as soon as its state is `running`."""
    while time.monotonic() < deadline:
        for state_file in results.glob(f"runs/{name}-*/state.json"):
            state = json.loads(state_file.read_text())
            if state["state"] == "running" and state["pid"]:
                os.kill(state["pid"], signal.SIGKILL)
                return
        time.sleep(0.01)
    raise AssertionError(f"{name} never ran")


@pytest.mark.slow
def test_a_killed_and_an_invalid_experiment_do_not_affect_the_others(
    tmp_path: Path, make_config: Callable[..., dict[str, Any]]
) -> None:
    grid, results = write_grid(tmp_path / "grid.json", make_config, broken="tweet"), tmp_path / "results"
    command = [*COMMAND, str(grid), "--results-path", str(results), "--jobs", "2"]
    sweep = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    kill_when_running(results, "instruction-2", time.monotonic() + 120)
    output, _ = sweep.communicate(timeout=240)
    assert sweep.returncode == 1
    report = json.loads((results / "aggregated_results.json").read_text())
    states = {run["name"]: (run["state"], run["error"]) for run in report["runs"]}
    assert [states[f"instruction {n}"][0] for n in (0, 1)] == ["done"] * 2
    assert states["instruction 2"][0] == "failed"
    assert "SIGKILL" in states["instruction 2"][1]
    assert 'no column "tweet"' in states["instruction 3"][1]
    for name in ("instruction 2", "instruction 3"):
        assert name in output
        assert name in (results / "aggregated_results.md").read_text()

    done = {path: path.stat().st_mtime_ns for path in results.glob("runs/*/result.json")}
    assert len(done) == 2
    write_grid(grid, make_config, broken="text")
    # without a standard error, which what the fork server imports would like to write to
    closed = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    again = subprocess.run(closed, capture_output=True, text=True, check=False, timeout=240)
    assert again.returncode == 0, again.stdout
    assert "2 of 4 already done" in again.stdout
    started = [line for line in again.stdout.splitlines() if line.startswith("started")]
    assert sorted(line.split(maxsplit=1)[1] for line in started) == ["instruction 2", "instruction 3"]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in done.items())

    third = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert third.returncode == 0
    assert "4 of 4 done, nothing to run" in third.stdout


@pytest.mark.slow
def test_a_timeout_ends_the_experiment_and_is_recorded(
    tmp_path: Path, make_config: Callable[..., dict[str, Any]]
) -> None:
    grid = tmp_path / "grid.json"
    grid.write_text(json.dumps(make_config(dataset__shots=0, lora=None, training=None)), encoding="utf-8")
    results = tmp_path / "results"
    command = [*COMMAND, str(grid), "--results-path", str(results), "--timeout", "1", "--isolation", "spawn"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 1
    (state,) = (json.loads(path.read_text()) for path in results.glob("runs/*/state.json"))
    assert (state["state"], state["error"]) == ("timeout", "took longer than 1 s")
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "nothing to run" in again.stdout
    assert again.returncode == 1
