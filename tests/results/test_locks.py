"""Locks of runs: one holder at a time, however the previous one ended."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sft.errors import UserError
from sft.results.locks import RunBusyError, RunLock, locked_ids

HOLDER = """
import sys, time
from pathlib import Path
from sft.results.locks import RunLock
lock = RunLock(Path(sys.argv[1]), "id", "run")
assert lock.acquire(5)
print("held", flush=True)
time.sleep(60)
"""
CONTENDER = """
import os, sys, time
from pathlib import Path
from sft.results.locks import RunLock
root, log, end = Path(sys.argv[1]), Path(sys.argv[2]), time.monotonic() + 1.5
handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
while time.monotonic() < end:
    lock = RunLock(root, "id", "run")
    if lock.acquire():
        os.write(handle, b"in\\n")
        time.sleep(0.0005)
        os.write(handle, b"out\\n")
        lock.release()
"""


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    first, second = RunLock(tmp_path, "id", "run"), RunLock(tmp_path, "id", "run")
    assert first.acquire()
    assert not second.acquire()
    assert not second.is_free()
    assert RunLock(tmp_path, "id", "claim").acquire(), "kinds are independent"
    assert RunLock(tmp_path, "other", "run").acquire(), "runs are independent"
    assert locked_ids(tmp_path) >= {"id"}
    first.release()
    first.release()
    assert second.acquire()
    second.release()
    assert second.is_free()


def test_waiting_ends_when_the_holder_ends(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    lock = RunLock(tmp_path, "id", "run")
    start = time.monotonic()
    assert not lock.acquire(0.3)
    assert time.monotonic() - start > 0.25
    os.kill(holder.pid, signal.SIGKILL)
    assert lock.acquire(5), "a lock is free after its holder's crash"
    holder.wait()
    holder.stdout.close()
    lock.release()


@pytest.mark.slow
def test_contenders_never_hold_a_lock_at_the_same_time(tmp_path: Path) -> None:
    """The lock's file is removed and created again all the time while others wait."""
    log = tmp_path / "log"
    command = [sys.executable, "-c", CONTENDER, str(tmp_path), str(log)]
    contenders = [subprocess.Popen(command) for _ in range(4)]
    assert [contender.wait(60) for contender in contenders] == [0] * 4
    lines = log.read_text().split()
    assert len(lines) > 100
    assert Counter(lines[::2]).keys() == {"in"}
    assert Counter(lines[1::2]).keys() == {"out"}


def test_an_unwritable_folder_gives_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / ".locks").write_text("in the way")
    with pytest.raises(UserError, match=r"\.locks.* cannot be written"):
        RunLock(tmp_path, "id", "run").acquire()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664)])
def test_the_umask_determines_who_can_take_over_a_lock(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        lock = RunLock(tmp_path, "id", "run")
        assert lock.acquire()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / ".locks" / "id.run").stat().st_mode) == mode
    lock.release()


def failing(number: int) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_the_lock_of_another_user_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filelock.FileLock.acquire", failing(errno.EACCES))
    with pytest.raises(UserError, match="cannot be written"):
        RunLock(tmp_path, "id", "run").acquire()  # there is no lock: the folder is not ours
    (tmp_path / ".locks" / "id.run").touch()
    assert not RunLock(tmp_path, "id", "run").acquire()
    assert not RunLock(tmp_path, "id", "run").is_free()


def test_a_lock_service_that_is_down_gives_a_one_line_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", failing(errno.ENOLCK))
    with pytest.raises(UserError, match=r"cannot be locked: No locks available; .* --results-path$"):
        RunLock(tmp_path, "id", "run").acquire()


def test_a_file_system_without_locks_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr("fcntl.flock", failing(errno.ENOSYS))
    monkeypatch.setattr("sft.results.locks.log.warning", lambda text, *values: warnings.append(text % values))
    for run_id in ("a", "b"):
        first, second = RunLock(tmp_path, run_id, "run"), RunLock(tmp_path, run_id, "run")
        assert first.acquire()
        assert not second.acquire()
        first.release()
        assert second.acquire()
        second.release()
    assert len(warnings) == 1
    assert str(tmp_path / ".locks") in warnings[0]


def test_a_busy_run_has_its_own_exit_code() -> None:
    assert RunBusyError.exit_code == 75
