"""Marker files: locks for file systems that have none. Holders send heartbeats; silent ones are replaced.

    RESULTS/.locks/<run id>.<kind>.<number>     one line of JSON about the holder, then a line with its heartbeat count

A lock is free if it has no marker. A new holder creates the marker with the next number, which only one process can do,
and lists the markers again. If there is another marker that it did not find abandoned before, it removes its own marker
and waits. Of two processes, the later one to list sees the marker of the other, so no two processes hold the lock.
Abandoned markers are removed before the new holder starts, so a former holder that wakes up finds its marker missing.

A marker is abandoned if its process is dead (checked only on its own host) or silent. Hosts disagree on the time, and
clocks are changed. So silence is measured by the clock of the file system, and every marker is also watched for three
heartbeat intervals by the watcher's monotonic clock before it is taken over.
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

STALE_AFTER = 900.0  # seconds without a heartbeat
SECONDS_BETWEEN_HEARTBEATS = 30.0
HEARTBEATS_MISSED = 3
CLOCK_PERIOD = 10.0  # seconds for which the file system's time is computed from the monotonic clock
LONGEST_MARKER = 4096


@dataclass(frozen=True)
class Marker:
    """Contents of a marker when read. If two readings differ, there was a heartbeat in between."""

    file: Path
    content: bytes
    modified: int

    @property
    def owner(self) -> dict[str, Any]:
        """Return its owner's record; empty while it is being written, or if it is not a marker of ours."""
        try:
            owner = json.loads(self.content.split(b"\n")[0])
        except ValueError:
            return {}
        return owner if isinstance(owner, dict) else {}

    def is_dead(self) -> bool:
        """Return whether its process has certainly ended: it ran on this host since the same boot, and is gone."""
        owner = self.owner
        pid = owner.get("pid")
        if not isinstance(pid, int) or not 0 < pid < 2**31 or [owner.get("host"), owner.get("boot")] != [*_this_host()]:
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # the process exists and belongs to another user
            pass
        start = _start_of(pid)
        return start is not None and start != owner.get("start")  # another process reuses the id

    def silence(self) -> float:
        """Return the seconds since its last heartbeat, by the file system's clock.

        A time in the future counts like one in the past: a clock was set back, and a living holder updates the time.
        """
        return abs(_time_of(self.file.parent, int(time.monotonic() / CLOCK_PERIOD)) - self.modified / 1e9)

    def describe(self) -> str:
        """Describe the holder, the start of its lock and the age of its last heartbeat in one line."""
        owner, since = self.owner, ""
        with suppress(TypeError, ValueError, KeyError, OverflowError, OSError):
            since = time.strftime(", which has held it since %Y-%m-%d %H:%M:%S,", time.localtime(owner["since"]))
        holder = (
            f"process {plain(str(owner.get('pid', '?')))} on {plain(str(owner.get('host', 'an unknown host')))}{since}"
        )
        return f"{holder} has sent no heartbeat for {max(_watched_for(self), self.silence()):.0f} s"


class MarkerLock:
    """A lock, held by at most one process.

    Args:
        base: path of the lock; markers append a number to it.
        stale_after: seconds without a heartbeat after which a holder is replaced.
    """

    def __init__(self, base: Path, stale_after: float = STALE_AFTER) -> None:
        self._base, self._stale_after = base, stale_after
        self._file = base
        self._handle: int | None = None
        self._record = b""
        self._process = 0

    def acquire(self) -> bool:
        """Try to acquire the lock once, without waiting; return False if another process holds it.

        Raises:
            OSError: markers cannot be read, written or removed.
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
            if acquired := self.is_held() and all(marker in before for marker in others):
                for marker in others:
                    marker.file.unlink(missing_ok=True)
        except BaseException:
            self.release()
            raise
        if not acquired:
            self.release()
            return False
        for line in silent:
            log.warning("%s: %s; its lock is taken over", self._base.name, line)
        for marker in before:
            _watched.pop(marker.file, None)
        return True

    def markers(self) -> list[Marker]:
        """Return all markers of the lock; none if it is free."""
        files = [entry.path for entry in os.scandir(self._base.parent) if entry.name.startswith(f"{self._base.name}.")]
        markers = (_read(Path(file)) for file in files if _number(Path(file)))
        return [marker for marker in markers if marker is not None]

    def suspects(self) -> list[Marker]:
        """Return the markers without a recent heartbeat. They are watched before they are taken over."""
        return [marker for marker in self.markers() if marker.silence() >= self._stale_after]

    def is_held(self) -> bool:
        """Return whether this process still holds the lock. It is False after another process has taken it over."""
        if self._handle is None or self._process != os.getpid():
            return False
        marker = _read(self._file)
        return marker is not None and marker.content.startswith(self._record)

    def release(self) -> None:
        """Remove the marker if it is still this process's."""
        if self._handle is None:
            return
        _heartbeats.end(self)
        with suppress(OSError):
            if self.is_held():
                self._file.unlink(missing_ok=True)
        os.close(self._handle)
        self._handle = None

    def send_heartbeat(self, count: int) -> None:
        """Change the marker's content and time, as some file systems show other hosts only one of them."""
        handle = self._handle
        if handle is not None:
            with suppress(OSError):
                os.pwrite(handle, b"%012d\n" % count, len(self._record))
                os.fsync(handle)
            with suppress(OSError):
                os.utime(handle)

    def _create(self, number: int) -> bool:
        """Create the marker with this number; return False if another process was faster."""
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
        _heartbeats.begin(self)
        return True

    def _is_stale(self, marker: Marker) -> bool:
        watched = _watched_for(marker)
        return watched >= seconds_of_watch() and max(watched, marker.silence()) >= self._stale_after


class _Heartbeats:
    """The thread that sends heartbeats for all locks of this process. It runs while there are any."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget all locks. A forked process has neither the thread nor the locks of its parent."""
        self._locks = set[MarkerLock]()
        self._guard = threading.Lock()
        self._ended = threading.Event()

    def begin(self, lock: MarkerLock) -> None:
        """Start sending heartbeats for a lock."""
        with self._guard:
            self._locks.add(lock)
            if len(self._locks) == 1:
                self._ended = threading.Event()
                threading.Thread(target=self._run, args=(self._ended,), name="lock-heartbeats", daemon=True).start()

    def end(self, lock: MarkerLock) -> None:
        """Stop sending heartbeats for a lock. Its handle is not used after this returns."""
        with self._guard:
            self._locks.discard(lock)
            if not self._locks:
                self._ended.set()

    def _run(self, ended: threading.Event) -> None:
        count = 0
        while not ended.wait(SECONDS_BETWEEN_HEARTBEATS):
            count += 1
            for lock in tuple(self._locks):
                with self._guard:
                    if lock in self._locks:
                        lock.send_heartbeat(count)


def seconds_of_watch() -> float:
    """Return how long a marker is watched before it is taken over. A living holder changes it in that time."""
    return HEARTBEATS_MISSED * SECONDS_BETWEEN_HEARTBEATS


_heartbeats = _Heartbeats()
os.register_at_fork(after_in_child=_heartbeats.forget)
_watched: dict[Path, tuple[Marker, float]] = {}


def _watched_for(marker: Marker) -> float:
    """Return the seconds, by the monotonic clock, since this process first read the marker with its current content."""
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
    """Read a marker; return None if it is missing. Opening it each time makes network file systems ask the server."""
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
    """Return the file system's time minus the monotonic clock. A new file has the time of the file system."""
    del period  # only part of the cache key
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as file:
        return os.fstat(file.fileno()).st_mtime - time.monotonic()


def _time_of(folder: Path, period: int) -> float:
    return _offset(folder, period) + time.monotonic()


@lru_cache
def _this_host() -> tuple[str, str]:
    """Return the host name, and an id of its boot and container, within which process ids are unique."""
    boot = namespace = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    return socket.gethostname(), f"{boot}/{namespace}"


def _start_of(pid: int) -> str | None:
    """Return the start time of a process in clock ticks since boot, or "ended" for a zombie.

    It is None if the system does not report it. Then only the process id is compared.
    """
    if (stat := process_stat(pid)) is None:
        return None
    return "ended" if stat.state in "ZX" else str(stat.start)
