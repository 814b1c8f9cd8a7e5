"""Jobs as processes: their log, their environment, and that none of their children outlives them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sft.launchers import launcher_registry
from sft.launchers.base import Job, RunningJob, Status


def start(tmp_path: Path, code: str, **settings: object) -> RunningJob:
    job = Job((sys.executable, "-c", code), tmp_path / "new" / "log.txt", **settings)  # type: ignore[arg-type]
    return launcher_registry["local"]().start(job)


def finish(job: RunningJob) -> Status:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (status := job.poll()) is not None:
            return status
        time.sleep(0.01)
    raise AssertionError("the job never ended")


def test_output_goes_to_the_log_and_the_code_comes_back(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['GREETING']); print('error', file=sys.stderr); sys.exit(3)"
    status = finish(start(tmp_path, code, environment={"GREETING": "hello"}))
    assert (status.exit_code, status.timed_out) == (3, False)
    assert sorted((tmp_path / "new" / "log.txt").read_text().split()) == ["error", "hello"]


def test_a_signal_is_a_negative_code(tmp_path: Path) -> None:
    assert finish(start(tmp_path, "import os; os.kill(os.getpid(), 9)")).exit_code == -9


@pytest.mark.parametrize("polite", [True, False])
def test_a_timeout_ends_the_job_with_its_children(
    tmp_path: Path, polite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sft.launchers.local.GRACE_SECONDS", 0.3)
    code = (
        "import signal, subprocess, sys, time\n"
        f"{'' if polite else 'signal.signal(signal.SIGTERM, signal.SIG_IGN)'}\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    status = finish(start(tmp_path, code, timeout=1.0))
    assert status.timed_out
    child = int((tmp_path / "new" / "log.txt").read_text())
    deadline = time.monotonic() + 5
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the grandchild lives on"
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
def test_a_job_ends_with_a_parent_that_is_killed_outright(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from sft.launchers.base import Job\n"
        "from sft.launchers.local import LocalLauncher\n"
        "child = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        f"LocalLauncher().start(Job((sys.executable, '-c', child), Path({str(log)!r})))\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 30
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < deadline, "the child never started"
        time.sleep(0.01)
    child = psutil.Process(int(log.read_text()))
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 2
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.01)


def test_asking_twice_sends_one_signal(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('asked', flush=True), time.sleep(0.5), sys.exit(7)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    job, log = start(tmp_path, code), tmp_path / "new" / "log.txt"
    deadline = time.monotonic() + 30
    while "ready" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    job.ask_to_end()
    job.stop()
    assert finish(job).exit_code == 7
    assert log.read_text().split() == ["ready", "asked"]
