"""What came of a sweep, as a value: it decides the exit code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Failure(NamedTuple):
    """An experiment that did not finish: its name, its state, why, where its log lies.

    `retried`: the same command tries it again by itself; else only with `--retry-failed`.
    """

    name: str
    state: str
    error: str
    log: Path
    retried: bool = True


@dataclass(frozen=True)
class SweepOutcome:
    """What happened to the experiments that were asked for.

    Args:
        succeeded: names of those that ran now and finished.
        failed: those that ran now, or before without being retried, and did not finish.
        skipped: names of those that were done already.
        not_started: names of those that were left when the sweep ended early.
        stopped: exit code of what ended the sweep early (130 Ctrl-C, 143 SIGTERM, 129 SIGHUP, …), else 0.
        hurried: whether it was told twice: then nothing is done that takes time.
        seconds: the sweep took.
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
        """0 all well, 1 at least one failure, above 128 stopped from outside, by that signal plus 128."""
        if self.stopped:
            return self.stopped
        return 1 if self.failed or self.not_started else 0
