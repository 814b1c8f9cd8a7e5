"""A system without resources for another process: experiments wait, or are left for the same command."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from rich.console import Console

from sft.launchers.base import Isolation, Job, NoProcessError, Status
from sft.launchers.local.launcher import LocalLauncher
from sft.results.store import ResultStore
from sft.sweep import run as sweep_module
from sft.sweep.outcome import SweepOutcome
from sft.sweep.preflight import Checked
from sft.sweep.run import Sweep
from sft.sweep.screen.display import Display

sys.path.insert(0, str(Path(__file__).parent))
import stub_child
from stub_sweep import options_of, plan_of

SHORTAGE = "this user has too many processes and threads (see ulimit -u); raise the limit, or lower --jobs"


class CrowdedLauncher:
    """Start at most `room` jobs at a time; they are done at the third poll."""

    def __init__(self, room: int, store: ResultStore) -> None:
        self.room, self.store, self.refused, self.running = room, store, 0, 0

    def ready(self) -> bool:
        return True

    def start(self, job: Job) -> CrowdedJob:
        if self.running >= self.room:
            self.refused += 1
            raise NoProcessError(errno.EAGAIN)
        self.running += 1
        return CrowdedJob(self)

    def close(self) -> None:
        pass


class CrowdedJob:
    def __init__(self, launcher: CrowdedLauncher) -> None:
        self.launcher, self.polls = launcher, 0

    def poll(self) -> Status | None:
        self.polls += 1
        if self.polls < 3:
            return None
        self.launcher.running -= 1
        for experiment in plan_of(4).experiments:
            folder = self.launcher.store.folder(experiment.id, experiment.slug)
            state = folder.state()
            if state is not None and state.state == "running" and folder.result() is None:
                folder.write_result(stub_child.result_of(experiment))
                break
        return Status(0, 0.0)

    def ask_to_end(self, number: object = None) -> None:
        pass

    def kill(self) -> None:
        pass


def run_with(room: int, tmp_path: Path) -> tuple[SweepOutcome, CrowdedLauncher]:
    """Run a sweep of four experiments, two at a time."""
    plan, store = plan_of(4), ResultStore(tmp_path)
    launcher = CrowdedLauncher(room, store)
    sweep = Sweep(plan, plan.experiments, store, options_of(isolation="spawn"), launcher)
    with Display(4, 2, Console(file=io.StringIO())) as display:
        return sweep.run(display), launcher


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "check_data", lambda *_: Checked({}))
    monkeypatch.setattr(sweep_module, "POLL_SECONDS", 0.001)


def test_the_next_experiment_waits_for_resources(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outcome, launcher = run_with(1, tmp_path)
    assert (sorted(outcome.succeeded), outcome.exit_code) == (["a", "b", "c", "d"], 0)
    assert 1 <= launcher.refused <= 3, "not retried before one has ended"
    assert caplog.text.count(f"{SHORTAGE}. The next experiment waits until a running one ends") == 1


def test_without_any_resources_the_experiments_are_left_for_the_same_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outcome, launcher = run_with(0, tmp_path)
    assert (outcome.not_started, outcome.failed, outcome.exit_code) == (("a", "b", "c", "d"), (), 1)
    assert launcher.refused == 1
    assert f"cannot start a process: {SHORTAGE}. No more experiments are started" in caplog.text
    assert run_with(2, tmp_path)[0].exit_code == 0


def _no_process(*_: object, **__: object) -> NoReturn:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _no_thread(*_: object) -> NoReturn:
    raise RuntimeError("can't start new thread")


def _no_pipe() -> NoReturn:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.parametrize("isolation", ["spawn", "resident", "fork"])
@pytest.mark.parametrize(
    ("target", "refuse", "message"),
    [
        ((subprocess, "Popen"), _no_process, SHORTAGE),
        ((threading.Thread, "start"), _no_thread, SHORTAGE),
        ((os, "pipe"), _no_pipe, "this process has too many open files (see ulimit -n)"),
    ],
)
def test_a_shortage_gives_a_one_line_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    isolation: Isolation,
    target: tuple[object, str],
    refuse: Callable[..., object],
    message: str,
) -> None:
    monkeypatch.setattr("multiprocessing.forkserver.ensure_running", _no_process)
    launcher = LocalLauncher(isolation=isolation)
    launcher.ready()
    before = len(list(Path("/dev/fd").iterdir()))
    with monkeypatch.context() as patch:
        patch.setattr(*target, refuse)
        with pytest.raises(NoProcessError, match="cannot start a process: ") as caught:
            launcher.start(Job((sys.executable, "-m", "stub_child"), tmp_path / "log.txt", shares="base"))
    assert message in str(caught.value)
    assert caught.value.exit_code == 2
    for thread in threading.enumerate():
        if thread.name.startswith("log "):
            thread.join(5)
    assert len(list(Path("/dev/fd").iterdir())) <= before, "opened files are closed again"


def test_other_errors_are_not_converted() -> None:
    assert NoProcessError.of(RuntimeError("a bug")) is None
    assert NoProcessError.of(FileNotFoundError(errno.ENOENT, "no such program")) is None
