"""Start a job as a new process. Safe everywhere, but slow to start if imports are slow."""

from __future__ import annotations

import os
import subprocess
import sys

from sft.import_path import PYTHON_FLAGS
from sft.launchers.base import Job
from sft.launchers.local.lifetime import bound_to_this_process
from sft.launchers.local.streams import Log


class FreshProcess:
    """A new process in its own session."""

    lives_on = False

    def __init__(self, job: Job) -> None:
        with Log(job.log_file) as self._log:
            self._process = subprocess.Popen(  # noqa: S603 - argv list, no shell
                watched(job.argv),
                stdin=subprocess.DEVNULL,
                stdout=self._log.writer,
                stderr=subprocess.STDOUT,
                env={**os.environ, **job.variables},
                start_new_session=True,
                preexec_fn=None if job.is_module else bound_to_this_process(),  # noqa: PLW1509 - takes no lock
            )
        self.pid = self._process.pid

    def exit_code(self) -> int | None:
        """Return None while it runs, or a negative number for the signal that ended it."""
        return self._process.poll()

    def close(self) -> None:
        """Complete the log of the ended process."""
        self._log.close()


def watched(argv: tuple[str, ...]) -> list[str]:
    """Return `python -m MODULE` wrapped in `sft.launchers.local.watched_module`, and other commands unchanged.

    Only other commands rely on the kernel's signal, as a module ended by it could not end its own children.
    """
    if len(argv) > 2 and argv[:2] == (sys.executable, "-m"):
        return [sys.executable, *PYTHON_FLAGS, "-m", "sft.launchers.local.watched_module", str(os.getpid()), *argv[2:]]
    return list(argv)


class SpawnStarter:
    """Start each job as a new process."""

    def ready(self) -> bool:
        """Return True."""
        return True

    def start(self, job: Job) -> FreshProcess:
        """Start the process of a job."""
        return FreshProcess(job)

    def close(self) -> None:
        """Do nothing."""
