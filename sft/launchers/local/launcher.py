"""Run jobs as processes on this machine, each in its own session, so that it can be ended with all its children.

`isolation` selects how a process is created: as a new process, as a fork of a server with the imports done, or as the
process of the previous job. Everything after that is the same.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Protocol

from sft.errors import UserError
from sft.launchers.base import Cause, Isolation, Job, NoProcessError, Preparation, Status
from sft.launchers.local.devices import device_may_be_visible
from sft.launchers.local.process_group import ProcessGroup, out_of_memory_kills

GRACE_SECONDS = 4.0  # between SIGTERM and SIGKILL
SECONDS_BETWEEN_CHECKS = 0.5  # of the memory of a job that has a limit
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


class Process(Protocol):
    """A process as `LocalJob` uses it."""

    pid: int

    @property
    def lives_on(self) -> bool:
        """Return whether the process outlives the job."""

    def exit_code(self) -> int | None: ...
    def close(self) -> None: ...


class Starter(Protocol):
    """A way to create processes."""

    def ready(self) -> bool: ...
    def start(self, job: Job) -> Process: ...
    def close(self) -> None: ...


class LocalJob:
    """A running process, its group, and its limits."""

    def __init__(self, job: Job, process: Process) -> None:
        self._resources = job.resources
        self._process = process
        self._group = ProcessGroup(process.pid)
        self._started = self._memory_checked = time.monotonic()
        self._kills_before = out_of_memory_kills()
        self._asked: float | None = None
        self._cause: Cause = ""

    def poll(self) -> Status | None:
        """Return the status if the process has ended, else None.

        After a timeout the job gets SIGTERM, and `GRACE_SECONDS` later SIGKILL, with all its children. A job that
        exceeds its memory limit is killed immediately.
        """
        now = time.monotonic()
        code = self._process.exit_code()
        if code is None:
            self._enforce_limits(now)
            return None
        if not self._process.lives_on:
            self._group.kill_remaining()  # grandchildren may outlive the leader
        self._process.close()
        if not self._cause and code in _KILLED and out_of_memory_kills() > self._kills_before:
            self._cause = "memory"
        return Status(code, now - self._started, self._cause)

    def ask_to_end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to the whole group, once. A second signal would disturb the handling of the first."""
        if self._asked is None:
            self._asked = time.monotonic()
            self._group.send(number)

    def kill(self) -> None:
        """End the whole group and descendants outside it immediately."""
        self._group.kill()

    def _enforce_limits(self, now: float) -> None:
        limits = self._resources
        if self._cause == "timeout":
            if self._asked is not None and now - self._asked > GRACE_SECONDS:
                self.kill()
        elif limits.seconds is not None and now - self._started > limits.seconds:
            self._cause = "timeout"
            self.ask_to_end()
        elif limits.memory is not None and now - self._memory_checked > SECONDS_BETWEEN_CHECKS:
            self._memory_checked = now
            if self._group.exceeds(limits.memory):
                self._cause = "limit"
                self.kill()


class LocalLauncher:
    """Start jobs on this machine.

    Args:
        preparation: modules that the fork server imports, and its threads.
        isolation: `fork`, `spawn`, `resident`, or `auto`: fork where that is safe (on Linux without an accelerator).

    Raises:
        UserError: this system does not support the isolation.
    """

    def __init__(self, preparation: Preparation = Preparation(), isolation: Isolation = "auto") -> None:  # noqa: B008
        self.isolation = "fork" if isolation == "auto" and fork_is_safe() else isolation
        if self.isolation in ("fork", "resident") and not hasattr(os, "fork"):
            raise UserError(f"--isolation {self.isolation} needs Linux or macOS; use spawn")
        self._starter = _starter(self.isolation, preparation)

    def ready(self) -> bool:
        """Return whether `start` returns immediately."""
        return self._starter.ready()

    def start(self, job: Job) -> LocalJob:
        """Start the process of `job`.

        Raises:
            NoProcessError: the system lacks the resources for another process now.
        """
        try:
            return LocalJob(job, self._starter.start(job))
        except (OSError, RuntimeError) as error:
            raise NoProcessError.of(error) or error from None

    def close(self) -> None:
        """Release everything; no more jobs follow."""
        self._starter.close()


def fork_is_safe() -> bool:
    """Return whether forking is safe: on Linux without an accelerator.

    The system libraries of macOS hold locks that a fork would copy. ForkStarter with an accelerator is untested.
    """
    return sys.platform == "linux" and not device_may_be_visible()


def _starter(isolation: Isolation, preparation: Preparation) -> Starter:
    if isolation == "fork":
        from sft.launchers.local.fork_server import ForkStarter

        return ForkStarter(preparation.modules, preparation.threads)
    if isolation == "resident":
        from sft.launchers.local.resident import ResidentStarter

        return ResidentStarter()
    from sft.launchers.local.spawn import SpawnStarter

    return SpawnStarter()
