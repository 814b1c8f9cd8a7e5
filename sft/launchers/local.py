"""Jobs as processes of this machine, each in its own session (so that it can be ended with all its children).

On Linux a job does not outlive the process that started it, not even one that was killed outright.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from sft.launchers.base import Job, Status

GRACE_SECONDS = 4.0  # between asking a process to end and ending it
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def bound_to_this_process() -> Callable[[], None] | None:
    """For `Popen(preexec_fn=…)`: the child gets SIGTERM when this process ends, however it ends. None but on Linux."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # all that takes a lock, before the fork

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the line above: nobody is left to send the signal
            os._exit(128 + signal.SIGTERM)

    return bind


class LocalJob:
    """A running process and its process group."""

    def __init__(self, job: Job) -> None:
        self._timeout = job.timeout
        self._started = time.monotonic()
        self._timed_out = False
        self._asked: float | None = None
        job.log_file.parent.mkdir(parents=True, exist_ok=True)
        with job.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - argv list, no shell
                list(job.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **job.environment},
                start_new_session=True,
                preexec_fn=bound_to_this_process(),  # noqa: PLW1509 - makes two system calls and takes no lock
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

    def ask_to_end(self) -> None:
        """SIGTERM to the whole group, once: a second one would disturb what the first has set going."""
        if self._asked is None:
            self._asked = time.monotonic()
            self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """SIGTERM to the whole group, SIGKILL after a grace period."""
        self.ask_to_end()
        waited = time.monotonic() - (self._asked or 0.0)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, GRACE_SECONDS - waited))
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
