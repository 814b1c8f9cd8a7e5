"""Locks on a file system without locks: heartbeats, silence, and taking over."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sft.results import locks, markers
from sft.results.locks import RunBusyError, RunLock, locked_ids
from sft.results.recording import recording
from sft.results.schema import RunState
from sft.results.states import is_gone
from sft.results.store import ResultStore, RunFolder

INTERVAL = 0.05
CONTENDER = """
import errno, fcntl, os, sys, time
from pathlib import Path
def flock(*_):
    raise OSError(errno.ENOSYS, "")
fcntl.flock = flock
from sft.results.locks import RunLock
root, log, end = Path(sys.argv[1]), Path(sys.argv[2]), time.monotonic() + float(sys.argv[3])
handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
RunLock(root, "other", "run").is_free()
while time.monotonic() < end:
    pid = os.fork()
    if pid == 0:
        lock = RunLock(root, "id", "run")
        if lock.acquire():
            os.write(handle, b"in\\n")
            time.sleep(0.0005)
            os.write(handle, b"out\\n")
            if os.getpid() % 4 == 0:
                lock.release()
        os._exit(0)  # most end while holding the lock
    os.waitpid(pid, 0)
"""


@pytest.fixture(autouse=True)
def no_flock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", fail)
    monkeypatch.setattr(markers, "SECONDS_BETWEEN_HEARTBEATS", INTERVAL)
    monkeypatch.setattr(markers, "CLOCK_PERIOD", 0.2)
    yield
    for lock in tuple(markers._heartbeats._locks):
        lock.release()


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    for log in (locks.log, markers.log):
        monkeypatch.setattr(log, "warning", lambda text, *values: lines.append(text % values))
    return lines


def write_marker(root: Path, kind: str = "run", age: float = 0.0, **owner: Any) -> Path:
    """Write a marker of another host with a last heartbeat that is `age` seconds old."""
    file = root / ".locks" / f"id.{kind}.1"
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = {"pid": 4711, "host": "node7", "boot": "b", "start": "1", "since": 1.7e9, "token": "t", **owner}
    file.write_text(json.dumps(whole) + "\n")
    os.utime(file, (time.time() - age,) * 2)
    return file


def acquired_within(lock: RunLock, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (acquired := lock.acquire()) and time.monotonic() < end:
        time.sleep(0.01)
    return acquired


@pytest.mark.parametrize("age", [3600, -3600], ids=["silent for an hour", "clock set back by an hour"])
def test_a_silent_host_is_reported_watched_and_taken_over(tmp_path: Path, warned: list[str], age: float) -> None:
    file = write_marker(tmp_path, age=age)
    lock = RunLock(tmp_path, "id", "run")
    assert not lock.acquire()
    start = time.monotonic()
    assert acquired_within(lock, 5)
    assert time.monotonic() - start > 2 * INTERVAL, "the marker was watched"
    assert not file.exists()
    (line,) = [line for line in warned if "its lock is taken over" in line]
    assert "process 4711 on node7, which has held it since 2023-11-1" in line
    assert "has sent no heartbeat for 3600 s" in line
    lock.release()
    assert not list((tmp_path / ".locks").iterdir())


def test_a_holder_with_a_recent_heartbeat_is_not_taken_over(tmp_path: Path) -> None:
    write_marker(tmp_path, age=800)
    assert not acquired_within(RunLock(tmp_path, "id", "run"), 10 * INTERVAL)
    assert acquired_within(RunLock(tmp_path, "id", "run", stale_after=600), 5)


def test_a_host_with_a_wrong_clock_is_alive_while_its_marker_changes(tmp_path: Path) -> None:
    file, lock = write_marker(tmp_path), RunLock(tmp_path, "id", "run")
    end = time.monotonic() + 10 * INTERVAL
    while time.monotonic() < end:
        os.utime(file, (time.time() - 7200,) * 2)
        assert not lock.acquire()
        time.sleep(INTERVAL / 5)


def test_waiting_continues_while_the_marker_is_watched(tmp_path: Path, warned: list[str]) -> None:
    write_marker(tmp_path, age=3600)
    lock = RunLock(tmp_path, "id", "run")
    assert lock.acquire(0.01)
    assert any("waiting 0 s for a heartbeat" in line for line in warned)
    lock.release()
    write_marker(tmp_path, age=1)
    assert not lock.acquire(0.01)


def test_an_empty_marker_is_taken_over_after_silence(tmp_path: Path) -> None:
    file = write_marker(tmp_path)
    file.write_text("")
    assert not acquired_within(RunLock(tmp_path, "id", "run"), 5 * INTERVAL)
    os.utime(file, (time.time() - 3600,) * 2)
    assert acquired_within(RunLock(tmp_path, "id", "run"), 5)


def ended_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("owner", "at_once"),
    [
        (lambda host, boot: {"pid": ended_process(), "host": host, "boot": boot}, True),
        (lambda host, boot: {"pid": os.getpid(), "host": host, "boot": boot, "start": "1"}, True),
        (lambda host, boot: {"pid": os.getpid(), "host": host, "boot": boot, "start": own_start()}, False),
        (lambda host, _: {"pid": ended_process(), "host": host}, False),
        (lambda _, boot: {"pid": ended_process(), "boot": boot}, False),
        (lambda host, boot: {"pid": 2**70, "host": host, "boot": boot}, False),
    ],
    ids=["dead", "its pid is reused", "alive", "before this boot", "another host", "no pid"],
)
def test_a_dead_process_of_this_host_is_taken_over_at_once(
    tmp_path: Path, owner: Callable[[str, str], dict[str, Any]], at_once: bool
) -> None:
    write_marker(tmp_path, **owner(*markers._this_host()))
    assert RunLock(tmp_path, "id", "run").acquire() is at_once


def own_start() -> str | None:
    return markers._start_of(os.getpid())


def test_a_zombie_is_dead(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "60"])
    host, boot = markers._this_host()
    write_marker(tmp_path, pid=process.pid, host=host, boot=boot, start=markers._start_of(process.pid))
    assert not RunLock(tmp_path, "id", "run").acquire()
    process.kill()
    assert acquired_within(RunLock(tmp_path, "id", "run"), 5)
    process.wait()


def test_a_living_holder_is_never_taken_over(tmp_path: Path) -> None:
    held = [RunLock(tmp_path, run_id, "run") for run_id in ("id", "other")]
    assert all(lock.acquire() for lock in held)
    assert [thread.name for thread in threading.enumerate()].count("lock-heartbeats") == 1, "one thread for all"
    assert not acquired_within(RunLock(tmp_path, "id", "run", stale_after=INTERVAL), 20 * INTERVAL)
    assert not any(lock.is_lost() for lock in held)
    for lock in held:
        lock.release()
    time.sleep(2 * INTERVAL)
    assert "lock-heartbeats" not in [thread.name for thread in threading.enumerate()]


def test_a_replaced_holder_neither_writes_nor_releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = RunLock(tmp_path, "id", "run")
    assert first.acquire()
    folder = RunFolder(tmp_path / "runs" / "a-id", first)
    folder.write_state(RunState(state="running"))
    monkeypatch.setattr(markers.MarkerLock, "send_heartbeat", lambda *_: None)  # as if it were suspended
    second = RunLock(tmp_path, "id", "run", stale_after=INTERVAL)
    assert acquired_within(second, 5)
    assert first.is_lost()
    with pytest.raises(RunBusyError, match="taken this run over"), recording(folder):
        pass
    with pytest.raises(RunBusyError, match="taken this run over"):
        folder.write_shots({})
    assert folder.state() == RunState.model_validate({**folder.state().model_dump(), "state": "running"})  # type: ignore[union-attr]
    first.release()
    assert not second.is_lost()
    assert locked_ids(tmp_path) == {"id"}
    second.release()
    assert locked_ids(tmp_path) == set()


def test_a_process_that_died_while_taking_over_does_not_harm_a_living_holder(tmp_path: Path) -> None:
    """It had created the next marker, but not yet removed the marker of the holder that woke up."""
    holder = RunLock(tmp_path, "id", "run")
    assert holder.acquire()
    host, boot = markers._this_host()
    died = write_marker(tmp_path / "elsewhere", pid=ended_process(), host=host, boot=boot)
    died.rename(tmp_path / ".locks" / "id.run.2")
    assert not acquired_within(RunLock(tmp_path, "id", "run"), 5 * INTERVAL)
    holder.release()
    assert RunLock(tmp_path, "id", "run").acquire()


def before_creation(monkeypatch: pytest.MonkeyPatch, event: Callable[[], object]) -> None:
    """Run `event` once, after a process has checked the markers and before it creates its own."""
    create = markers.MarkerLock._create

    def later(self: markers.MarkerLock, number: int) -> bool:
        monkeypatch.setattr(markers.MarkerLock, "_create", create)
        event()
        return create(self, number)

    monkeypatch.setattr(markers.MarkerLock, "_create", later)


def test_an_outdated_check_of_the_markers_does_not_harm_the_next_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marker's number is free again, because the lock was taken over, released, and acquired by a third process."""
    host, boot = markers._this_host()
    write_marker(tmp_path, pid=ended_process(), host=host, boot=boot)
    third = RunLock(tmp_path, "id", "run")

    def acquire_by_others() -> None:
        second = RunLock(tmp_path, "id", "run")
        assert second.acquire()
        second.release()
        assert third.acquire()

    before_creation(monkeypatch, acquire_by_others)
    first = RunLock(tmp_path, "id", "run")
    assert not first.acquire()
    assert not third.is_lost()
    assert [file.name for file in (tmp_path / ".locks").glob("id*")] == ["id.run.1"]
    third.release()
    assert first.acquire()


def test_a_holder_that_wakes_up_while_it_is_taken_over_keeps_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_marker(tmp_path, age=3600)
    lock = RunLock(tmp_path, "id", "run")
    assert not lock.acquire()
    time.sleep(4 * INTERVAL)
    before_creation(monkeypatch, lambda: os.utime(file))
    assert not lock.acquire()
    assert [file.name for file in (tmp_path / ".locks").glob("id*")] == ["id.run.1"]


def test_of_two_processes_taking_over_at_once_one_holds_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_marker(tmp_path, age=3600)
    first, second = RunLock(tmp_path, "id", "run"), RunLock(tmp_path, "id", "run")
    assert not first.acquire()
    time.sleep(4 * INTERVAL)
    before_creation(monkeypatch, second.acquire)
    assert not first.acquire()
    assert not second.is_lost()
    second.release()


def test_a_forked_process_does_not_hold_the_locks_of_its_parent(tmp_path: Path) -> None:
    lock = RunLock(tmp_path, "id", "run")
    assert lock.acquire()
    pid = os.fork()
    if pid == 0:
        lock.release()
        os._exit(0)
    os.waitpid(pid, 0)
    assert not lock.is_lost()
    lock.release()


def test_a_silent_run_is_shown_as_gone_before_it_is_taken_over(tmp_path: Path) -> None:
    write_marker(tmp_path, "run", age=3600)
    write_marker(tmp_path, "claim", age=1)
    store = ResultStore(tmp_path)
    assert not is_gone(store, "id")
    write_marker(tmp_path, "claim", age=3600)
    assert is_gone(store, "id")
    assert len(list((tmp_path / ".locks").glob("id.*"))) == 2, "nothing was changed"


def test_with_flock_there_are_no_markers_and_no_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    lock = RunLock(tmp_path, "id", "run")
    assert lock.acquire()
    assert [file.name for file in (tmp_path / ".locks").iterdir()] == ["id.run"]
    assert "lock-heartbeats" not in [thread.name for thread in threading.enumerate()]
    assert not lock.is_lost()
    lock.release()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.long)])
def test_of_many_processes_one_takes_over_from_a_dead_one(tmp_path: Path, seconds: int) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", CONTENDER, str(tmp_path), str(log), str(seconds)]
    contenders = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert ["Traceback" in contender.communicate(timeout=120)[1] for contender in contenders] == [False] * 4
    assert [contender.returncode for contender in contenders] == [0] * 4
    lines = log.read_text().split()
    assert len(lines) > 10
    assert set(lines[::2]) == {"in"}
    assert set(lines[1::2]) == {"out"}
