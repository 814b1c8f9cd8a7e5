"""Locks by run id, so that one process at a time works on a run, whatever the name of its folder.

The kernel releases a lock when its holder ends, even by SIGKILL. On a network file system the server holds the lock,
which works across hosts. If a file system has no such locks, marker files replace them (see `markers`). Users may share
a folder; their umask determines who can take over whose lock.

There are two kinds. A sweep holds the *claim* on an experiment from before its start until its outcome is recorded. The
process that does the work holds the *run* lock, so that after a sweep was killed no other process takes the run while
its process is still ending.
"""

from __future__ import annotations

import errno
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from sft.errors import UserError
from sft.log import get_logger
from sft.results.markers import STALE_AFTER, MarkerLock, seconds_of_watch

if TYPE_CHECKING:
    from filelock import BaseFileLock

log = get_logger(__name__)

Kind = Literal["claim", "run"]
LOCKS = ".locks"
SECONDS_BETWEEN_TRIES = 0.05
SECONDS_AFTER_WATCH = 2.0  # extra wait for taking over a watched marker
_NO_FLOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_without_flock = set[Path]()  # lock folders found to be on a file system without flock


class RunBusyError(UserError):
    """Another process is working on the run."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class RunLock:
    """A lock of a run.

    Args:
        root: the results folder.
        run_id: id of the run.
        kind: kind of lock.
        stale_after: seconds without a heartbeat after which a holder is replaced, on a file system without locks.
    """

    def __init__(self, root: Path, run_id: str, kind: Kind, stale_after: float = STALE_AFTER) -> None:
        self._path = root / LOCKS / f"{run_id}.{kind}"
        self._stale_after = stale_after
        self._lock: BaseFileLock | MarkerLock | None = None

    def acquire(self, seconds: float = 0.0) -> bool:
        """Acquire the lock; return False if another process holds it or the file belongs to another user.

        A marker without a recent heartbeat is watched first, so waiting can take longer than `seconds`.

        Args:
            seconds: time to wait for the lock.

        Raises:
            UserError: the lock's file cannot be written, or the file system's locks do not work.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.parent not in _without_flock:
                try:
                    return self._acquire_flock(seconds)
                except OSError as error:
                    if error.errno not in _NO_FLOCK:
                        raise
                    self._path.unlink(missing_ok=True)  # the file that flock was tried on
                    _without_flock.add(self._path.parent)
            _warn_of_markers(self._path.parent)
            return self._acquire_marker(seconds)
        except OSError as error:
            if isinstance(error, PermissionError) and self._exists():
                return False
            raise UserError(self._error_message(error)) from None

    def _acquire_flock(self, seconds: float) -> bool:
        from filelock import FileLock, Timeout

        lock = FileLock(self._path, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire(timeout=seconds, poll_interval=SECONDS_BETWEEN_TRIES)
        except Timeout:
            return False
        self._lock = lock
        return True

    def _acquire_marker(self, seconds: float) -> bool:
        lock = MarkerLock(self._path, self._stale_after)
        deadline, is_watching = time.monotonic() + seconds, False
        while not lock.acquire():
            if time.monotonic() >= deadline:
                suspects = [] if is_watching or seconds == 0 else lock.suspects()
                if not suspects:
                    return False
                is_watching = True
                deadline += seconds_of_watch() + SECONDS_AFTER_WATCH
                log.warning(
                    "%s: %s; waiting %.0f s for a heartbeat",
                    self._path.name,
                    suspects[0].describe(),
                    seconds_of_watch(),
                )
            time.sleep(SECONDS_BETWEEN_TRIES)
        self._lock = lock
        return True

    def _exists(self) -> bool:
        with suppress(OSError):
            return self._path.exists() or bool(MarkerLock(self._path).markers())
        return False

    def _error_message(self, error: OSError) -> str:
        if error.errno == errno.ENOLCK:
            advice = "fix the file system's lock service (NFS: rpc.statd), or choose another --results-path"
            return f"{self._path} cannot be locked: {error.strerror}; {advice}"
        return f"{self._path} cannot be written: {error.strerror or error}"

    def release(self) -> None:
        """Release the lock if it is held. Its file is removed first. Waiting processes then create a new one."""
        if self._lock is not None:
            if not isinstance(self._lock, MarkerLock):
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def is_free(self) -> bool:
        """Return whether no process holds the lock now."""
        if not self._exists():
            return True
        if not self.acquire():
            return False
        self.release()
        return True

    def is_lost(self) -> bool:
        """Return whether another process has taken the lock over, because this one sent no heartbeat."""
        return isinstance(self._lock, MarkerLock) and not self._lock.is_held()

    def is_silent(self) -> bool:
        """Return whether the holder has sent no heartbeat for too long, but still has the lock."""
        return self._path.parent in _without_flock and bool(MarkerLock(self._path, self._stale_after).suspects())


def has_markers(root: Path) -> bool:
    """Return whether this process has found that a results folder is on a file system without locks."""
    return root / LOCKS in _without_flock


@lru_cache
def _warn_of_markers(folder: Path) -> None:
    """Log a warning once per results folder."""
    log.warning(
        "this file system has no locks (flock); using marker files in %s instead. A lock without a heartbeat is taken "
        "over after --stale-after seconds",
        folder,
    )


def locked_ids(root: Path) -> set[str]:
    """Return the ids of runs that are locked, or were locked when their process was killed."""
    try:
        names = (file.name.split(".") for file in (root / LOCKS).iterdir())
        return {name[0] for name in names if len(name) > 1 and name[1] in get_args(Kind)}
    except OSError:
        return set()
