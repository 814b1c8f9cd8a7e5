"""The protocol of a launcher: a Job goes in, a status comes back. Knows nothing of experiments or results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol


@dataclass(frozen=True)
class Job:
    """One process to run.

    Args:
        argv: program and arguments; never a shell string.
        log_file: receives everything the process prints.
        environment: variables set on top of the launcher's own.
        timeout: seconds after which it is ended, with all its children; None: never.
    """

    argv: tuple[str, ...]
    log_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None


class Status(NamedTuple):
    """How a job ended. `exit_code` is negative for the signal that ended it."""

    exit_code: int
    timed_out: bool
    seconds: float


class RunningJob(Protocol):
    """A job that was started."""

    def poll(self) -> Status | None:
        """The status once it has ended, else None."""

    def ask_to_end(self) -> None:
        """Ask it and all its children to end, and return at once."""

    def stop(self) -> None:
        """End it and all its children: politely, after a few seconds not."""


class Launcher(Protocol):
    """Starts jobs somewhere."""

    def start(self, job: Job) -> RunningJob:
        """Start `job` and return at once."""
