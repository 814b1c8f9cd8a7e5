"""Sweeps on a file system without locks: killed, suspended, or on a dead host, while another one waits."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from subprocess import Popen

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stub_rounds import alive, audit_lines, audited_pids, start_sweep, states_of, wait_for_audit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="process start times are read from /proc"),
]

INTERVAL = "0.3"
TWO = ("--number", "2", "--jobs", "2")


def family(process: Popen[str]) -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def send(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            os.kill(process.pid, number)


def counts(results: Path, word: str) -> list[int]:
    return sorted(Counter(line.split()[1] for line in audit_lines(results) if line.split()[0] == word).values())


def check_results(results: Path) -> None:
    """Check that each experiment has one result and no lock is left."""
    assert counts(results, "accepted") == [1, 1]
    assert counts(results, "twice") == []
    assert not list(results.glob(".locks/*"))
    assert not (results / "quarantine").exists()
    assert {state["state"] for state in states_of(results).values()} == {"done"}


@pytest.mark.parametrize("host", ["", "node7"], ids=["this host", "another host"])
def test_the_claims_of_a_killed_sweep_are_taken_over(tmp_path: Path, host: str) -> None:
    results = tmp_path / "results"
    elsewhere = {"STUB_HOST": host} if host else {}
    first = start_sweep(results, *TWO, stub={"a": "wait", "b": "wait"}, STUB_HEARTBEATS=INTERVAL, **elsewhere)
    wait_for_audit(results, "begin", 2)
    send(family(first), signal.SIGKILL)
    first.communicate()
    assert len(list(results.glob(".locks/*"))) == 4
    start = time.monotonic()
    second = start_sweep(results, *TWO, "--stale-after", "2", STUB_HEARTBEATS=INTERVAL)
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 0, output
    assert ("on node7, which has held it since" in output) == bool(host), output
    assert ("its lock is taken over" in output) == bool(host), output
    assert (time.monotonic() - start > 2) or not host
    check_results(results)


def test_a_living_sweep_is_waited_for(tmp_path: Path) -> None:
    results = tmp_path / "results"
    first = start_sweep(results, *TWO, STUB_HEARTBEATS=INTERVAL, STUB_SECONDS="4", STUB_HOST="node7")
    wait_for_audit(results, "begin", 2)
    second = start_sweep(results, *TWO, "--stale-after", "1", STUB_HEARTBEATS=INTERVAL)
    outputs = [sweep.communicate(timeout=60)[0] for sweep in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    assert "its lock is taken over" not in "".join(outputs)
    assert counts(results, "begin") == [1, 1]
    check_results(results)


def test_a_suspended_sweep_that_wakes_up_writes_nothing(tmp_path: Path) -> None:
    results = tmp_path / "results"
    first = start_sweep(results, *TWO, STUB_HEARTBEATS=INTERVAL, STUB_SECONDS="1.5")
    wait_for_audit(results, "begin", 2)
    stopped = family(first)
    send(stopped, signal.SIGSTOP)
    pids = audited_pids(results)
    try:
        second = start_sweep(results, *TWO, "--stale-after", "1", STUB_HEARTBEATS=INTERVAL, STUB_SECONDS="1.5")
        wait_for_audit(results, "begin", 4)
    finally:
        send(stopped, signal.SIGCONT)  # while the second one works
    outputs = [sweep.communicate(timeout=60)[0] for sweep in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    assert "Traceback" not in "".join(outputs)
    accepted = {int(line.split()[2]) for line in audit_lines(results) if line.startswith("accepted")}
    assert not accepted & pids
    assert not alive(pids)
    check_results(results)
