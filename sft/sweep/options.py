"""How a sweep is run."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from sft.launchers.base import Isolation, Resources
from sft.results.markers import STALE_AFTER
from sft.sweep.slots import Slot


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is run.

    Args:
        plug_folder: the grid's folder, where `"module:function"` plugs are found.
        do_eval: judge each trained model.
        slots: one for each experiment that may run at a time.
        threads: of each experiment; None: not settled yet (see `threads.py`).
        launcher: where experiments run: a name of the launcher registry, or the user's `"module:factory"`.
        isolation: how an experiment's process comes to be.
        limits: what each experiment may use: seconds, bytes.
        retry_failed: also run those that failed by themselves before.
        max_failures: start nothing more after so many; None: whatever fails.
        oom_retry: run one that ran out of memory again with half its batch.
        stale_after: seconds without a sign of life after which another sweep's experiment is taken over, where the file
            system has no locks.
        program: what is started, before the command's name and its arguments.
    """

    plug_folder: Path
    do_eval: bool = True
    slots: tuple[Slot, ...] = (Slot(),)
    threads: int | None = None
    launcher: str = "local"
    isolation: Isolation = "auto"
    limits: Resources = field(default_factory=Resources)
    retry_failed: bool = False
    max_failures: int | None = None
    oom_retry: bool = True
    stale_after: float = STALE_AFTER
    program: tuple[str, ...] = field(default_factory=lambda: (sys.executable, "-m", "sft.cli"))
