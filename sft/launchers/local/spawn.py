"""A job as a fresh process of this machine. Slow to start where imports are heavy, and safe everywhere."""

from __future__ import annotations

import os
import subprocess
import sys

from sft.import_path import PYTHON_FLAGS
from sft.launchers.base import Job
from sft.launchers.local.lifetime import bound_to_this_process
from sft.launchers.local.streams import Log


class FreshProcess:
    """A process started by `exec`, in a session of its own."""

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
        """None while it runs; negative for the signal that ended it."""
        return self._process.poll()

    def close(self) -> None:
        """It has ended: have all that it printed in its log."""
        self._log.close()


def watched(argv: tuple[str, ...]) -> list[str]:
    """`python -m MODULE` by way of `sft.launchers.local.watched_module`; anything else as it is.

    The kernel's signal is for the latter only: a module that it ends could not take along what it has started.
    """
    if len(argv) > 2 and argv[:2] == (sys.executable, "-m"):
        return [sys.executable, *PYTHON_FLAGS, "-m", "sft.launchers.local.watched_module", str(os.getpid()), *argv[2:]]
    return list(argv)


class Spawning:
    """Starts each job as a fresh process."""

    def ready(self) -> bool:
        """Always."""
        return True

    def start(self, job: Job) -> FreshProcess:
        """Start it."""
        return FreshProcess(job)

    def close(self) -> None:
        """Nothing to do."""
