"""The protocol of a launcher: a Job goes in, a status comes back. Knows nothing of experiments or results."""

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
Isolation = Literal["auto", "fork", "spawn", "resident"]  # how a job's process comes to be: see local/launcher.py


_LACKING = {
    errno.EAGAIN: "this user has too many processes and threads (see ulimit -u)",
    errno.EMFILE: "this process has too many open files (see ulimit -n)",
    errno.ENFILE: "this machine has too many open files",
    errno.ENOMEM: "there is not enough memory",
}
NO_THREAD = "can't start new thread"  # all that Python says where the system refuses one


class NoProcessError(UserError, OSError):
    """A process cannot be started now, because the system has too little of something.

    The user can change it, and code that can do without the process catches it as the OSError that it is.

    Args:
        number: one of `NoProcessError.NUMBERS`.
    """

    NUMBERS = tuple(_LACKING)

    def __init__(self, number: int) -> None:
        super().__init__(f"no process can be started: {_LACKING[number]}; raise the limit, or lower --jobs")
        self.errno = number

    @classmethod
    def of(cls, error: Exception) -> NoProcessError | None:
        """Return the error in these words, or None: it is another one."""
        if isinstance(error, RuntimeError) and str(error) == NO_THREAD:
            return cls(errno.EAGAIN)
        number = error.errno if isinstance(error, OSError) else None
        return cls(number) if number in cls.NUMBERS else None


@dataclass(frozen=True)
class Preparation:
    """What every launcher is told beside its own options; it may use it to start jobs faster.

    Args:
        modules: that jobs import.
        threads: of parallel regions in each job; None: as many as the libraries take by themselves.
    """

    modules: tuple[str, ...] = ()
    threads: int | None = None


@dataclass(frozen=True)
class Resources:
    """What a job may use.

    Args:
        devices: the accelerators it sees, as `CUDA_VISIBLE_DEVICES` names them; None: those of the launcher itself.
        threads: of its parallel regions; None: as many as the libraries take by themselves.
        memory: bytes that it and its children may have resident in all; None: no limit.
        seconds: after which it is ended; None: never.
    """

    devices: tuple[str, ...] | None = None
    threads: int | None = None
    memory: int | None = None
    seconds: float | None = None

    def environment(self) -> dict[str, str]:
        """The variables that libraries read them from, and how threads wait."""
        devices = {} if self.devices is None else {"CUDA_VISIBLE_DEVICES": ",".join(self.devices)}
        return {**devices, **thread_variables(self.threads)}


@dataclass(frozen=True)
class Job:
    """One process to run.

    Args:
        argv: program and arguments; never a shell string.
        log_file: receives everything the process prints, behind what it holds already.
        environment: variables set on top of the launcher's own.
        resources: what it may use.
        shares: names what it has in common with other jobs that is dear to load; None: nothing.
        forkable: whether a process that has imported the libraries with no device visible may become it.
    """

    argv: tuple[str, ...]
    log_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = Resources()
    shares: str | None = None
    forkable: bool = True

    @property
    def is_module(self) -> bool:
        """Whether it is a module run by this very Python: `python -m MODULE ARGUMENTS`."""
        return len(self.argv) > 2 and self.argv[:2] == (sys.executable, "-m")

    @property
    def variables(self) -> dict[str, str]:
        """All that is set on top of the launcher's own environment."""
        return {**self.resources.environment(), **self.environment}


class Status(NamedTuple):
    """How a job ended.

    `exit_code` is negative for the signal that ended it. `cause`: why it was ended: by the launcher, its time being up
    (`timeout`) or for more memory than it may hold (`limit`), or by the system, which had none left (`memory`); empty
    where none of these is known.
    """

    exit_code: int
    seconds: float
    cause: Cause = ""


class RunningJob(Protocol):
    """A job that was started."""

    def poll(self) -> Status | None:
        """The status once it has ended, else None; minds its limits. To be called several times a second."""

    def ask_to_end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to it and all its children, once, and return at once."""

    def kill(self) -> None:
        """End it and all its children, at once."""


class Launcher(Protocol):
    """Starts jobs somewhere.

    A factory `make(preparation, **options)` makes it, with the options of its spec (a user's own: those of
    `--launcher-arg KEY=VALUE`, as strings).
    """

    def ready(self) -> bool:
        """Whether `start` returns at once; the first call begins what has to be done before, and does not wait."""

    def start(self, job: Job) -> RunningJob:
        """Start `job`.

        Raises:
            NoProcessError: the system has no room for another process now.
        """

    def close(self) -> None:
        """No more jobs are to come."""
