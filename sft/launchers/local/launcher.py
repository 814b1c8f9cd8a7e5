"""Jobs as processes of this machine, each in its own session, so that it can be ended with all its children.

How a process comes to be (afresh, forked from a server with the imports done, or kept from the last job) is
`isolation`; what is done with it from then on is the same.
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
from sft.launchers.local.process_group import ProcessGroup, kills_for_lack_of_memory

GRACE_SECONDS = 4.0  # between asking a process to end and ending it
SECONDS_BETWEEN_LOOKS = 0.5  # at the memory of a job that has a limit
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


class Process(Protocol):
    """What `LocalJob` needs of a process."""

    pid: int

    @property
    def lives_on(self) -> bool:
        """Whether it goes on when the job has ended."""

    def exit_code(self) -> int | None: ...
    def close(self) -> None: ...


class Starter(Protocol):
    """One way to make processes."""

    def ready(self) -> bool: ...
    def start(self, job: Job) -> Process: ...
    def close(self) -> None: ...


class LocalJob:
    """A running process, its group, and its limits."""

    def __init__(self, job: Job, process: Process) -> None:
        self._resources = job.resources
        self._process = process
        self._group = ProcessGroup(process.pid)
        self._started = self._looked = time.monotonic()
        self._kills_before = kills_for_lack_of_memory()
        self._asked: float | None = None
        self._cause: Cause = ""

    def poll(self) -> Status | None:
        """The status once the process has ended, else None.

        One whose time is up is asked to end, and ended with all its children when it has not done so `GRACE_SECONDS`
        later; one that holds too much memory is ended at once.
        """
        now = time.monotonic()
        code = self._process.exit_code()
        if code is None:
            self._mind_limits(now)
            return None
        if not self._process.lives_on:
            self._group.sweep_up()  # grandchildren may outlive a leader
        self._process.close()
        if not self._cause and code in _KILLED and kills_for_lack_of_memory() > self._kills_before:
            self._cause = "memory"
        return Status(code, now - self._started, self._cause)

    def ask_to_end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to the whole group, once: a second one would disturb what the first has set going."""
        if self._asked is None:
            self._asked = time.monotonic()
            self._group.send(number)

    def kill(self) -> None:
        """End the whole group, and what has left it, at once."""
        self._group.kill()

    def _mind_limits(self, now: float) -> None:
        limits = self._resources
        if self._cause == "timeout":
            if self._asked is not None and now - self._asked > GRACE_SECONDS:
                self.kill()
        elif limits.seconds is not None and now - self._started > limits.seconds:
            self._cause = "timeout"
            self.ask_to_end()
        elif limits.memory is not None and now - self._looked > SECONDS_BETWEEN_LOOKS:
            self._looked = now
            if self._group.holds_more_than(limits.memory):
                self._cause = "limit"
                self.kill()


class LocalLauncher:
    """Starts jobs on this machine.

    Args:
        preparation: modules that the server imports from which jobs are forked, and its threads.
        isolation: `fork`, `spawn`, `resident`, or `auto`: fork where it is safe, on Linux with no accelerator in sight.

    Raises:
        UserError: this system cannot make processes in that way.
    """

    def __init__(self, preparation: Preparation = Preparation(), isolation: Isolation = "auto") -> None:  # noqa: B008
        self.isolation = "fork" if isolation == "auto" and fork_is_safe() else isolation
        if self.isolation in ("fork", "resident") and not hasattr(os, "fork"):
            raise UserError(f"--isolation {self.isolation} needs Linux or macOS: use spawn")
        self._starter = _starter(self.isolation, preparation)

    def ready(self) -> bool:
        """Whether `start` returns at once."""
        return self._starter.ready()

    def start(self, job: Job) -> LocalJob:
        """Start the process of `job`.

        Raises:
            NoProcessError: the system has no room for another process now.
        """
        try:
            return LocalJob(job, self._starter.start(job))
        except (OSError, RuntimeError) as error:
            raise NoProcessError.of(error) or error from None

    def close(self) -> None:
        """No more jobs are to come."""
        self._starter.close()


def fork_is_safe() -> bool:
    """Not where the system's own libraries take locks behind a fork's back (macOS), nor, until it has been proven on
    one, where an accelerator may be visible."""
    return sys.platform == "linux" and not device_may_be_visible()


def _starter(isolation: Isolation, preparation: Preparation) -> Starter:
    if isolation == "fork":
        from sft.launchers.local.fork_server import Forking

        return Forking(preparation.modules, preparation.threads)
    if isolation == "resident":
        from sft.launchers.local.resident import Keeping

        return Keeping()
    from sft.launchers.local.spawn import Spawning

    return Spawning()
