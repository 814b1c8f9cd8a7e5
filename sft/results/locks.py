"""Who runs what: locks by run id, so that each run is in one process's hands, whatever the folder is called.

The kernel lets go of a lock when its holder ends, however it ends; on a network file system it is the server's lock,
which holds across hosts. Where a file system has no such locks, filelock falls back to marker files. Users may share a
folder: who may take over whose lock is up to their umask.

Two kinds. The *claim* is a sweep's: this experiment is ours, from before it starts until what came of it is recorded.
The *run* lock is held by the process that does the work, so that a sweep that was killed does not leave a run open to
others while its process is still ending.
"""

from __future__ import annotations

import errno
import warnings
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from sft.errors import UserError
from sft.log import get_logger

if TYPE_CHECKING:
    from filelock import BaseFileLock

log = get_logger(__name__)

Kind = Literal["claim", "run"]
LOCKS = ".locks"
SECONDS_BETWEEN_TRIES = 0.05


class RunBusyError(UserError):
    """Another process has the run in its hands."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class RunLock:
    """One lock of one run.

    Args:
        root: the results folder.
        run_id: of the run.
        kind: whose lock it is.
    """

    def __init__(self, root: Path, run_id: str, kind: Kind) -> None:
        self._path = root / LOCKS / f"{run_id}.{kind}"
        self._lock: BaseFileLock | None = None

    def acquire(self, seconds: float = 0.0) -> bool:
        """Take it, waiting for at most so long; False when another process holds it, or it is another user's.

        Raises:
            UserError: the lock's file cannot be written, or the file system's locks do not work.
        """
        from filelock import FileLock, Timeout

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._path, thread_local=False)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                lock.acquire(timeout=seconds, poll_interval=SECONDS_BETWEEN_TRIES)
        except Timeout:
            return False
        except OSError as error:
            if isinstance(error, PermissionError) and self._is_there():
                return False
            raise UserError(self._problem(error)) from None
        if any("SoftFileLock" in str(one.message) for one in caught):
            _warn_of_markers(self._path.parent)
        self._lock = lock
        return True

    def _is_there(self) -> bool:
        with suppress(OSError):
            return self._path.exists()
        return False

    def _problem(self, error: OSError) -> str:
        if error.errno == errno.ENOLCK:
            advice = "mend the file system's lock service (NFS: rpc.statd), or choose another --results-path"
            return f"{self._path} cannot be locked: {error.strerror}; {advice}"
        return f"{self._path} cannot be written: {error.strerror or error}"

    def release(self) -> None:
        """Let go of it, if it is held. Its file goes first: whoever waits on it sees that, and makes a new one."""
        if self._lock is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def is_free(self) -> bool:
        """Whether nobody holds it now."""
        if not self._path.exists():
            return True
        if not self.acquire():
            return False
        self.release()
        return True


@lru_cache
def _warn_of_markers(folder: Path) -> None:
    """Once for each results folder."""
    log.warning(
        "this file system has no locks: files in %s stand in for them; one may outlive a killed process", folder
    )


def locked_ids(root: Path) -> set[str]:
    """The ids of the runs that somebody holds, or held when they were killed."""
    try:
        return {file.stem for file in (root / LOCKS).iterdir() if file.suffix[1:] in get_args(Kind)}
    except OSError:
        return set()
