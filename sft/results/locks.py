"""Who runs what: locks by run id, so that each run is in one process's hands, whatever the folder is called.

The kernel lets go of a lock when its holder ends, however it ends; on a network file system it is the server's lock,
which holds across hosts. Where a file system has no such locks, filelock falls back to marker files.

Two kinds. The *claim* is a sweep's: this experiment is ours, from before it starts until what came of it is recorded.
The *run* lock is held by the process that does the work, so that a sweep that was killed does not leave a run open to
others while its process is still ending.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from sft.errors import UserError

if TYPE_CHECKING:
    from filelock import BaseFileLock

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
        """Take it, waiting for at most so long; False when another process holds it.

        Raises:
            UserError: the lock's file cannot be written.
        """
        from filelock import FileLock, Timeout

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._path, thread_local=False)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that a file system has no locks is no news to the user
                lock.acquire(timeout=seconds, poll_interval=SECONDS_BETWEEN_TRIES)
        except Timeout:
            return False
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror or error}") from None
        self._lock = lock
        return True

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


def locked_ids(root: Path) -> set[str]:
    """The ids of the runs that somebody holds, or held when they were killed."""
    try:
        return {file.stem for file in (root / LOCKS).iterdir() if file.suffix[1:] in get_args(Kind)}
    except OSError:
        return set()
