"""The protocol of a launcher: it runs a `Job` and returns a `Status`. Does not know experiments or results."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from sft.errors import UserError
from sft.threads import thread_variables

Cause = Literal["", "timeout", "limit", "memory"]
Isolation = Literal["auto", "fork", "spawn", "resident"]  # how a job's process is created; see local/launcher.py


_SHORTAGES = {
    errno.EAGAIN: "this user has too many processes and threads (see ulimit -u)",
    errno.EMFILE: "this process has too many open files (see ulimit -n)",
    errno.ENFILE: "this machine has too many open files",
    errno.ENOMEM: "this machine has too little free memory",
}
NO_THREAD = "can't start new thread"  # Python's only message when the system refuses a thread


class NoProcessError(UserError, OSError):
    """The system lacks the resources to start a process now.

    The user can fix it, so it is a UserError. Code that can do without the process catches it as an OSError.

    Args:
        number: error number, in `NoProcessError.NUMBERS`.
    """

    NUMBERS = tuple(_SHORTAGES)

    def __init__(self, number: int) -> None:
        super().__init__(f"cannot start a process: {_SHORTAGES[number]}; raise the limit, or lower --jobs")
        self.errno = number

    @classmethod
    def of(cls, error: Exception) -> NoProcessError | None:
        """Convert an error that means a lack of resources; return None for others."""
        if isinstance(error, RuntimeError) and str(error) == NO_THREAD:
            return cls(errno.EAGAIN)
        number = error.errno if isinstance(error, OSError) else None
        return cls(number) if number in cls.NUMBERS else None


@dataclass(frozen=True)
class Preparation:
    """Information for every launcher besides its own options, which it may use to start jobs faster.

    Args:
        modules: modules that jobs import.
        threads: threads of parallel regions in each job; None: the libraries' default.
    """

    modules: tuple[str, ...] = ()
    threads: int | None = None


@dataclass(frozen=True)
class Resources:
    """Limits of a job.

    Args:
        devices: visible accelerators, named as in `CUDA_VISIBLE_DEVICES`; None: those of the launcher itself.
        threads: threads of parallel regions; None: the libraries' default.
        memory: resident bytes allowed for the job and its children together; None: no limit.
        seconds: time limit; None: no limit.
    """

    devices: tuple[str, ...] | None = None
    threads: int | None = None
    memory: int | None = None
    seconds: float | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment variables for devices, threads and the wait policy of threads."""
        devices = {} if self.devices is None else {"CUDA_VISIBLE_DEVICES": ",".join(self.devices)}
        return {**devices, **thread_variables(self.threads)}


@dataclass(frozen=True)
class Job:
    """One process to run.

    Args:
        argv: program and arguments; never a shell string.
        log_file: file to which everything the process prints is appended.
        environment: variables set on top of the launcher's own.
        resources: limits of the job.
        shares: name of the data shared with other jobs that is expensive to load; None: nothing.
        forkable: whether it can be forked from a process that imported the libraries with no device visible.
    """

    argv: tuple[str, ...]
    log_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = Resources()
    shares: str | None = None
    forkable: bool = True

    @property
    def is_module(self) -> bool:
        """Return whether it is a module run by the current Python: `python -m MODULE ARGUMENTS`."""
        return len(self.argv) > 2 and self.argv[:2] == (sys.executable, "-m")

    @property
    def variables(self) -> dict[str, str]:
        """Return all variables set on top of the launcher's own environment."""
        return {**self.resources.environment(), **self.environment}


class Status(NamedTuple):
    """How a job ended.

    Attributes:
        exit_code: exit code; negative for the signal that ended the job.
        seconds: wall time.
        cause: why the job was ended: `timeout` or `limit` (memory) by the launcher, `memory` by the system when it ran
            out of memory; empty if unknown.
    """

    exit_code: int
    seconds: float
    cause: Cause = ""


class RunningJob(Protocol):
    """A job that was started."""

    def poll(self) -> Status | None:
        """Enforce the limits; return the status if the job has ended, else None. Call it several times per second."""

    def ask_to_end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to the job and all its children, once, without waiting."""

    def kill(self) -> None:
        """End the job and all its children immediately."""


class Launcher(Protocol):
    """Start jobs.

    A factory `make(preparation, **options)` creates it. The options are those of its spec, or for a user's own launcher
    those of `--launcher-arg KEY=VALUE`, as strings.
    """

    def ready(self) -> bool:
        """Return whether `start` returns immediately. The first call begins preparing and does not wait for it."""

    def start(self, job: Job) -> RunningJob:
        """Start `job`.

        Raises:
            NoProcessError: the system lacks the resources for another process now.
        """

    def close(self) -> None:
        """Release everything; no more jobs follow."""
