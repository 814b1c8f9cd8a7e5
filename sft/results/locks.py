"""Who runs what: locks by run id, so that each run is in one process's hands, whatever the folder is called.

The kernel lets go of a lock when its holder ends, however it ends; on a network file system it is the server's lock,
which holds across hosts. Where a file system has no such locks, marker files stand in for them (see `markers`). Users
may share a folder: who may take over whose lock is up to their umask.

Two kinds. The *claim* is a sweep's: this experiment is ours, from before it starts until what came of it is recorded.
The *run* lock is held by the process that does the work, so that a sweep that was killed does not leave a run open to
others while its process is still ending.
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
SECONDS_AFTER_WATCH = 2.0  # for a marker that was watched to be taken over
_NO_FLOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_without_flock = set[Path]()  # folders of locks, as far as this process knows


class RunBusyError(UserError):
    """Another process has the run in its hands."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class RunLock:
    """One lock of one run.

    Args:
        root: the results folder.
        run_id: of the run.
        kind: whose lock it is.
        stale_after: where the file system has no locks: seconds without a sign of life after which a holder is taken
            over.
    """

    def __init__(self, root: Path, run_id: str, kind: Kind, stale_after: float = STALE_AFTER) -> None:
        self._path = root / LOCKS / f"{run_id}.{kind}"
        self._stale_after = stale_after
        self._lock: BaseFileLock | MarkerLock | None = None

    def acquire(self, seconds: float = 0.0) -> bool:
        """Take it, waiting for at most so long; False when another process holds it, or it is another user's.

        Where a marker's holder has been silent for too long, waiting goes on until the marker was watched.

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
                    self._path.unlink(missing_ok=True)  # what flock was tried on
                    _without_flock.add(self._path.parent)
            _warn_of_markers(self._path.parent)
            return self._acquire_marker(seconds)
        except OSError as error:
            if isinstance(error, PermissionError) and self._is_there():
                return False
            raise UserError(self._problem(error)) from None

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
                    "%s: %s; waiting %.0f s for one", self._path.name, suspects[0].describe(), seconds_of_watch()
                )
            time.sleep(SECONDS_BETWEEN_TRIES)
        self._lock = lock
        return True

    def _is_there(self) -> bool:
        with suppress(OSError):
            return self._path.exists() or bool(MarkerLock(self._path).markers())
        return False

    def _problem(self, error: OSError) -> str:
        if error.errno == errno.ENOLCK:
            advice = "mend the file system's lock service (NFS: rpc.statd), or choose another --results-path"
            return f"{self._path} cannot be locked: {error.strerror}; {advice}"
        return f"{self._path} cannot be written: {error.strerror or error}"

    def release(self) -> None:
        """Let go of it, if it is held. Its file goes first: whoever waits on it sees that, and makes a new one."""
        if self._lock is not None:
            if not isinstance(self._lock, MarkerLock):
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def is_free(self) -> bool:
        """Whether nobody holds it now."""
        if not self._is_there():
            return True
        if not self.acquire():
            return False
        self.release()
        return True

    def is_lost(self) -> bool:
        """Whether another process has taken it over from this one, which gave no sign of life."""
        return isinstance(self._lock, MarkerLock) and not self._lock.is_held()

    def is_silent(self) -> bool:
        """Whether its holder is taken for dead, though not yet taken over: it has given no sign for too long."""
        return self._path.parent in _without_flock and bool(MarkerLock(self._path, self._stale_after).suspects())


def has_markers(root: Path) -> bool:
    """Whether this process has found that a results folder is on a file system without locks."""
    return root / LOCKS in _without_flock


@lru_cache
def _warn_of_markers(folder: Path) -> None:
    """Once for each results folder."""
    log.warning(
        "this file system has no locks (flock): marker files in %s stand in for them; --stale-after says when one that "
        "gives no sign of life is taken over",
        folder,
    )


def locked_ids(root: Path) -> set[str]:
    """The ids of the runs that somebody holds, or held when they were killed."""
    try:
        names = (file.name.split(".") for file in (root / LOCKS).iterdir())
        return {name[0] for name in names if len(name) > 1 and name[1] in get_args(Kind)}
    except OSError:
        return set()
