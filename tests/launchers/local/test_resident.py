"""Processes that outlive their jobs: which job reuses one, and when a new one is started."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sft.launchers.base import Job, Resources, RunningJob, Status
from sft.launchers.local.launcher import LocalLauncher

SERVER = """
import sys, time
from sft.launchers.local.serving import serve

def run(arguments):
    print("pid", __import__("os").getpid(), *arguments, __import__("os").environ.get("WORD"), flush=True)
    if arguments[0] == "read":
        print("read", repr(sys.stdin.read()), repr(__import__("os").read(0, 9)))
    if arguments[0] == "sleep":
        time.sleep(60)
    if arguments[0] == "die":
        __import__("os")._exit(7)
    global fit
    fit = arguments[0] != "spoil"
    return 1 if arguments[0] == "fail" else 0

if sys.argv[1:] == ["serve"]:
    sys.exit(serve(run, lambda: fit))
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalLauncher]:
    (tmp_path / "kept_server.py").write_text(textwrap.dedent(SERVER), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    made = LocalLauncher(isolation="resident")
    yield made
    made.close()


def job(folder: Path, *arguments: str, shares: str | None = "base", **more: object) -> Job:
    log = folder / f"{len(list(folder.glob('*.log')))}.log"
    log.touch()
    return Job((sys.executable, "-m", "kept_server", *arguments), log, shares=shares, **more)  # type: ignore[arg-type]


def finish(running: RunningJob) -> Status:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (status := running.poll()) is not None:
            return status
        time.sleep(0.01)
    raise AssertionError("the job never ended")


def pid_of(job: Job) -> int:
    return int(job.log_file.read_text().split()[1])


def run(launcher: LocalLauncher, job: Job) -> tuple[int, int]:
    """Return the exit code and the process id of a job."""
    return finish(launcher.start(job)).exit_code, pid_of(job)


def test_a_process_is_reused_by_jobs_that_share_its_base(launcher: LocalLauncher, tmp_path: Path) -> None:
    first, second = job(tmp_path, "one", environment={"WORD": "hello"}), job(tmp_path, "two")
    assert run(launcher, first)[1] == run(launcher, second)[1]
    assert first.log_file.read_text().split()[2:] == ["one", "hello"]
    assert second.log_file.read_text().split()[2:] == ["two", "None"]


def test_jobs_that_share_another_base_or_none_get_another_process(launcher: LocalLauncher, tmp_path: Path) -> None:
    pids = [run(launcher, job(tmp_path, "go", shares=shares))[1] for shares in ("a", "b", None, "b")]
    assert len(set(pids[:3])) == 3
    assert pids[3] == pids[1]
    assert not psutil.pid_exists(pids[0])  # ended for another: one base per device


@pytest.mark.parametrize(("command", "code"), [("fail", 1), ("spoil", 0), ("die", 7)])
def test_an_unfit_process_is_replaced(launcher: LocalLauncher, tmp_path: Path, command: str, code: int) -> None:
    unfit = run(launcher, job(tmp_path, command))
    assert unfit[0] == code
    assert run(launcher, job(tmp_path, "go"))[1] != unfit[1]
    assert not psutil.pid_exists(unfit[1])


def test_a_timeout_ends_the_process_too(launcher: LocalLauncher, tmp_path: Path) -> None:
    slow = job(tmp_path, "sleep", resources=Resources(seconds=1.0))
    status = finish(launcher.start(slow))
    assert status.cause == "timeout"
    assert not psutil.pid_exists(pid_of(slow))
    assert run(launcher, job(tmp_path, "go", resources=Resources()))[0] == 0


def test_the_standard_input_of_a_job_is_empty(launcher: LocalLauncher, tmp_path: Path) -> None:
    """Reading it does not consume the next requests."""
    reader = job(tmp_path, "read", resources=Resources(seconds=20.0))
    assert run(launcher, reader)[1] == run(launcher, job(tmp_path, "go"))[1]
    assert reader.log_file.read_text().splitlines()[-1] == "read '' b''"


def test_closing_ends_idle_processes(launcher: LocalLauncher, tmp_path: Path) -> None:
    _, pid = run(launcher, job(tmp_path, "go"))
    assert psutil.pid_exists(pid)
    launcher.close()
    assert not psutil.pid_exists(pid)
