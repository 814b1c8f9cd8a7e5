"""What came of a sweep, as a value: it decides the exit code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Failure(NamedTuple):
    """An experiment that did not finish: its name, its state, why, and where its log lies."""

    name: str
    state: str
    error: str
    log: Path


@dataclass(frozen=True)
class SweepOutcome:
    """What happened to the experiments that were asked for.

    Args:
        succeeded: names of those that ran now and finished.
        failed: those that ran now, or before without being retried, and did not finish.
        skipped: names of those that were done already.
        not_started: names of those that were left when the sweep ended early.
        seconds: the sweep took.
    """

    succeeded: tuple[str, ...]
    failed: tuple[Failure, ...]
    skipped: tuple[str, ...]
    not_started: tuple[str, ...] = ()
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 all well, 1 at least one failure, 130 interrupted."""
        if self.interrupted:
            return 130
        return 1 if self.failed or self.not_started else 0
