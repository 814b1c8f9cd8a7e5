"""Marker files: locks for a file system that has none. A holder gives signs of life; a silent one is taken over.

    RESULTS/.locks/<run id>.<kind>.<number>     one line of JSON: who holds it; below it the count of its signs of life

A lock is free when no marker of it exists. Its holder creates the next number, which the file system lets one process
do, then lists again: if any other marker exists that was not judged to be left behind, it removes its own and waits.
Of two processes the later one to list sees the marker of the other, so that no two hold a lock, whatever they judged.
Markers left behind are removed before the new holder starts: a former holder that wakes up finds its own gone.

A marker is left behind when its process is dead (only judged on its own host), or silent. Hosts disagree on the time,
and clocks are set: silence is measured by the file system's own clock, and every marker is also watched for three
intervals between signs, by the watcher's monotonic clock, before it is taken over.

Knows nothing of runs.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sft.log import get_logger, plain
from sft.procfs import process_stat

log = get_logger(__name__)

STALE_AFTER = 900.0  # seconds without a sign of life
SECONDS_BETWEEN_SIGNS = 30.0
SIGNS_MISSED = 3
SECONDS_OF_A_CLOCK = 10.0  # for which the file system's time is computed from the monotonic clock
LONGEST_MARKER = 4096


@dataclass(frozen=True)
class Marker:
    """A marker as it was read once. Two that differ have a sign of life between them."""

    file: Path
    content: bytes
    modified: int

    @property
    def owner(self) -> dict[str, Any]:
        """Who wrote it; empty while it is being written, or when it is not one of ours."""
        try:
            owner = json.loads(self.content.split(b"\n")[0])
        except ValueError:
            return {}
        return owner if isinstance(owner, dict) else {}

    def is_dead(self) -> bool:
        """Whether its process has certainly ended: it ran on this host, since the same boot, and is gone."""
        owner = self.owner
        pid = owner.get("pid")
        if not isinstance(pid, int) or not 0 < pid < 2**31 or [owner.get("host"), owner.get("boot")] != [*_this_host()]:
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # it exists, and is another user's
            pass
        start = _start_of(pid)
        return start is not None and start != owner.get("start")  # the id of a process that ended is used again

    def silence(self) -> float:
        """Seconds since its last sign of life, by the file system's clock.

        A time in the future counts like one in the past: a clock was set back, and a living holder corrects it.
        """
        return abs(_time_of(self.file.parent, int(time.monotonic() / SECONDS_OF_A_CLOCK)) - self.modified / 1e9)

    def describe(self) -> str:
        """Who holds it, since when, and how old its last sign is: one line."""
        owner, since = self.owner, ""
        with suppress(TypeError, ValueError, KeyError, OverflowError, OSError):
            since = time.strftime(", which had it since %Y-%m-%d %H:%M:%S,", time.localtime(owner["since"]))
        who = (
            f"process {plain(str(owner.get('pid', '?')))} on {plain(str(owner.get('host', 'an unknown host')))}{since}"
        )
        return f"{who} gave no sign of life for {max(_watched_for(self), self.silence()):.0f} s"


class MarkerLock:
    """One lock, held by at most one process.

    Args:
        base: its path; the markers append a number to it.
        stale_after: seconds without a sign of life after which a holder is taken over.
    """

    def __init__(self, base: Path, stale_after: float = STALE_AFTER) -> None:
        self._base, self._stale_after = base, stale_after
        self._file = base
        self._handle: int | None = None
        self._record = b""
        self._process = 0

    def acquire(self) -> bool:
        """Try it once, without waiting; False while another process holds it.

        Raises:
            OSError: markers cannot be read, written or removed here.
        """
        before = self.markers()
        alive = [marker for marker in before if not marker.is_dead()]
        if not all(self._is_stale(marker) for marker in alive):
            return False
        silent = [marker.describe() for marker in alive]
        if not self._create(1 + max((_number(marker.file) for marker in before), default=0)):
            return False
        try:
            others = [marker for marker in self.markers() if marker.file != self._file]
            if is_ours := self.is_held() and all(marker in before for marker in others):
                for marker in others:
                    marker.file.unlink(missing_ok=True)
        except BaseException:
            self.release()
            raise
        if not is_ours:
            self.release()
            return False
        for line in silent:
            log.warning("%s: %s; its lock is taken over", self._base.name, line)
        for marker in before:
            _watched.pop(marker.file, None)
        return True

    def markers(self) -> list[Marker]:
        """All its markers: none while it is free."""
        files = [entry.path for entry in os.scandir(self._base.parent) if entry.name.startswith(f"{self._base.name}.")]
        read = (_read(Path(file)) for file in files if _number(Path(file)))
        return [marker for marker in read if marker is not None]

    def suspects(self) -> list[Marker]:
        """Its markers whose holder has been silent for long enough; they are watched before they are taken over."""
        return [marker for marker in self.markers() if marker.silence() >= self._stale_after]

    def is_held(self) -> bool:
        """Whether this process still holds it: false after another one has taken it over."""
        if self._handle is None or self._process != os.getpid():
            return False
        marker = _read(self._file)
        return marker is not None and marker.content.startswith(self._record)

    def release(self) -> None:
        """Remove the marker, if it is still this process's."""
        if self._handle is None:
            return
        _signs.end(self)
        with suppress(OSError):
            if self.is_held():
                self._file.unlink(missing_ok=True)
        os.close(self._handle)
        self._handle = None

    def give_sign(self, count: int) -> None:
        """Change the marker. Both ways, for file systems that keep one of them from other hosts."""
        handle = self._handle
        if handle is not None:
            with suppress(OSError):
                os.pwrite(handle, b"%012d\n" % count, len(self._record))
                os.fsync(handle)
            with suppress(OSError):
                os.utime(handle)

    def _create(self, number: int) -> bool:
        """Create a marker of that number; False when another process was quicker."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._file = self._base.with_name(f"{self._base.name}.{number}")
        try:
            self._handle = os.open(self._file, flags, 0o666)
        except FileExistsError:
            return False
        host, boot = _this_host()
        self._process = pid = os.getpid()
        owner = {"pid": pid, "host": host, "boot": boot, "start": _start_of(pid), "since": time.time()}
        self._record = json.dumps({**owner, "token": secrets.token_hex(8)}).encode() + b"\n"
        try:
            os.write(self._handle, self._record)
            os.fsync(self._handle)
        except OSError:
            os.close(self._handle)
            self._handle = None
            self._file.unlink(missing_ok=True)
            raise
        _signs.begin(self)
        return True

    def _is_stale(self, marker: Marker) -> bool:
        watched = _watched_for(marker)
        return watched >= seconds_of_watch() and max(watched, marker.silence()) >= self._stale_after


class _Signs:
    """The thread that gives signs of life for all the locks of this process; it runs while there are any."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Hold nothing: a forked process has neither the thread nor the locks of its parent."""
        self._locks = set[MarkerLock]()
        self._guard = threading.Lock()
        self._ended = threading.Event()

    def begin(self, lock: MarkerLock) -> None:
        """Give signs for a lock from now on."""
        with self._guard:
            self._locks.add(lock)
            if len(self._locks) == 1:
                self._ended = threading.Event()
                threading.Thread(target=self._run, args=(self._ended,), name="lock-signs", daemon=True).start()

    def end(self, lock: MarkerLock) -> None:
        """Give no more for it. Its handle is used no more after this returns."""
        with self._guard:
            self._locks.discard(lock)
            if not self._locks:
                self._ended.set()

    def _run(self, ended: threading.Event) -> None:
        count = 0
        while not ended.wait(SECONDS_BETWEEN_SIGNS):
            count += 1
            for lock in tuple(self._locks):
                with self._guard:
                    if lock in self._locks:
                        lock.give_sign(count)


def seconds_of_watch() -> float:
    """How long a marker is watched before it is taken over: a living holder changes it in that time."""
    return SIGNS_MISSED * SECONDS_BETWEEN_SIGNS


_signs = _Signs()
os.register_at_fork(after_in_child=_signs.forget)
_watched: dict[Path, tuple[Marker, float]] = {}


def _watched_for(marker: Marker) -> float:
    """Seconds, by the monotonic clock, since this process first saw the marker as it is now."""
    seen, since = _watched.get(marker.file, (None, 0.0))
    now = time.monotonic()
    if seen != marker:
        since = now
        _watched[marker.file] = marker, since
    return now - since


def _number(file: Path) -> int:
    number = file.suffix[1:]
    return int(number) if number.isdecimal() else 0


def _read(file: Path) -> Marker | None:
    """The marker; None when there is none. It is opened each time: network file systems then ask their server."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        return Marker(file, os.read(handle, LONGEST_MARKER), os.fstat(handle).st_mtime_ns)
    finally:
        os.close(handle)


@lru_cache(maxsize=16)
def _offset(folder: Path, period: int) -> float:
    """The file system's time minus the monotonic clock. A new file has the time of the file system."""
    del period  # part of the cache's key only
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as file:
        return os.fstat(file.fileno()).st_mtime - time.monotonic()


def _time_of(folder: Path, period: int) -> float:
    return _offset(folder, period) + time.monotonic()


@lru_cache
def _this_host() -> tuple[str, str]:
    """The host's name, and what tells its boots and its containers apart: process ids only mean something within."""
    boot = namespace = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    return socket.gethostname(), f"{boot}/{namespace}"


def _start_of(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; "ended" for one that only waits for its parent.

    None: this system does not say, and only the process id is compared.
    """
    if (stat := process_stat(pid)) is None:
        return None
    return "ended" if stat.state in "ZX" else str(stat.start)
