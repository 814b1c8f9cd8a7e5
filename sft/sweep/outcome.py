"""The outcome of a sweep, which determines the exit code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Failure(NamedTuple):
    """An experiment that did not finish: its name, state, error and log.

    `retried` is True if the same command retries it, and False if only `--retry-failed` does.
    """

    name: str
    state: str
    error: str
    log: Path
    retried: bool = True


@dataclass(frozen=True)
class SweepOutcome:
    """The outcome of the requested experiments.

    Args:
        succeeded: names of experiments that finished now.
        failed: experiments that failed now, or before without being retried.
        skipped: names of experiments that were done before.
        not_started: names of experiments left when the sweep ended early.
        stopped: exit code if a signal ended the sweep early (130 Ctrl-C, 143 SIGTERM, 129 SIGHUP, …), else 0.
        hurried: whether a second signal came, after which nothing slow is done.
        seconds: duration of the sweep.
    """

    succeeded: tuple[str, ...]
    failed: tuple[Failure, ...]
    skipped: tuple[str, ...]
    not_started: tuple[str, ...] = ()
    stopped: int = 0
    hurried: bool = False
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """Return 0 for success, 1 for at least one failure, or 128 plus the signal that stopped the sweep."""
        if self.stopped:
            return self.stopped
        return 1 if self.failed or self.not_started else 0
