"""Several sweeps in one results folder: each experiment runs once, and all sweeps report all results."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stub_rounds import Server, audit_lines, audit_of, environment, output_of, report_of, start_sweep, wait_for_audit

EIGHT = 8


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server(environment())
    yield server
    server.close()


def check_results(results: Path, experiments: int) -> None:
    """Check that each experiment started once and was accepted once."""
    for word in ("begin", "accepted"):
        counts = Counter(line.split()[1] for line in audit_lines(results) if line.startswith(word))
        assert set(counts.values()) == {1}, counts
        assert len(counts) == experiments
    assert not list(results.glob(".locks/*"))
    assert not list(results.glob("runs/*/.*"))


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, *(pytest.param(n, marks=pytest.mark.long) for n in range(1, 20))])
def test_eight_at_once_run_each_experiment_once(tmp_path: Path, server: Server, index: int) -> None:
    results = tmp_path / "results"
    results.mkdir()
    isolation = "spawn" if index % 10 == 9 else "fork"
    arguments = ["--jobs", "2", "--isolation", isolation]
    sweeps = server.start(results, arguments, {"STUB_AUDIT": str(audit_of(results))}, EIGHT)
    sweeps.wait(120)
    outputs = [Path(f"{output_of(results)}{n or ''}").read_text() for n in range(EIGHT)]
    assert sweeps.codes == [0] * EIGHT, "\n".join(outputs)
    check_results(results, 12)
    tables = [text.partition("\n\n")[2] for text in outputs]
    assert len(set(tables)) == 1, "their tables differ"
    assert "Traceback" not in "".join(outputs)
    assert {run["state"] for run in report_of(results)["runs"]} == {"done"}


@pytest.mark.slow
def test_waiting_sweeps_take_over_from_a_killed_one(tmp_path: Path) -> None:
    """The first sweep has claimed `a`, `b` and `c`; the others can only wait for it."""
    results = tmp_path / "results"
    first = start_sweep(results, "--number", "3", "--jobs", "3", stub=dict.fromkeys("abc", "wait"))
    wait_for_audit(results, "begin", 3)
    others = [start_sweep(results, "--number", "3", "--jobs", "3") for _ in range(2)]
    time.sleep(1.5)
    assert [other.poll() for other in others] == [None, None]
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    outputs = [other.communicate(timeout=60)[0] for other in others]
    assert [other.returncode for other in others] == [0, 0], outputs
    accepted = Counter(line.split()[1] for line in audit_lines(results) if line.startswith("accepted"))
    assert sorted(accepted.values()) == [1, 1, 1]
    assert not list(results.glob(".locks/*"))
