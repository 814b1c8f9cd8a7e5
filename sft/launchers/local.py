"""Jobs as processes of this machine, each in its own session (so that it can be ended with all its children)."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress

from sft.launchers.base import Job, Status

GRACE_SECONDS = 4.0  # between asking a process to end and ending it


class LocalJob:
    """A running process and its process group."""

    def __init__(self, job: Job) -> None:
        self._timeout = job.timeout
        self._started = time.monotonic()
        self._timed_out = False
        job.log_file.parent.mkdir(parents=True, exist_ok=True)
        with job.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - argv list, no shell
                list(job.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **job.environment},
                start_new_session=True,
            )

    def poll(self) -> Status | None:
        """The status once the process has ended; ends it when its time is up."""
        seconds = time.monotonic() - self._started
        code = self._process.poll()
        if code is None and self._timeout is not None and seconds > self._timeout:
            self._timed_out = True
            self.stop()
            code = self._process.poll()
        return None if code is None else Status(code, self._timed_out, seconds)

    def stop(self) -> None:
        """SIGTERM to the whole group, SIGKILL after a grace period."""
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        self._signal(signal.SIGKILL)  # grandchildren may outlive a polite leader
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # the group has ended by itself
            os.killpg(self._process.pid, number)


class LocalLauncher:
    """Starts jobs on this machine."""

    def start(self, job: Job) -> LocalJob:
        """Start the process of `job`."""
        return LocalJob(job)
