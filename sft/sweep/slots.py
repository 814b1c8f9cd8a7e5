"""Room for experiments at a time: one slot each, with the accelerators that its experiments see. Starts nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from sft.errors import UserError


@dataclass(frozen=True)
class Slot:
    """Room for one experiment at a time.

    Args:
        devices: those that it sees; None: no accelerator is visible at all.
        threads: of its parallel regions; None: as many as the libraries take.
    """

    devices: tuple[str, ...] | None = None
    threads: int | None = None


def make_slots(jobs: int | None, devices: Sequence[str], per_experiment: int = 1, per_device: int = 1) -> list[Slot]:
    """The slots of this machine.

    Args:
        jobs: how many; None: all that the devices give, one without any.
        devices: the visible ones.
        per_experiment: devices that each experiment gets.
        per_device: experiments that share one device (or one group of devices).

    Raises:
        UserError: more is asked for than there is.
    """
    if not devices:
        if per_experiment > 1:
            raise UserError(f"--gpus-per-experiment {per_experiment}: no GPU is visible")
        number = jobs or 1
        return [Slot(None, _threads(number))] * number
    groups = [tuple(devices[i : i + per_experiment]) for i in range(0, len(devices), per_experiment)]
    whole = [group for group in groups if len(group) == per_experiment]
    if not whole:
        raise UserError(f"--gpus-per-experiment {per_experiment}: {len(devices)} are visible ({', '.join(devices)})")
    rounds = [group for _ in range(per_device) for group in whole]  # the devices in turn, before any is shared
    if jobs is not None and jobs > len(rounds):
        raise UserError(
            f"--jobs {jobs}: the {len(devices)} visible GPUs give {len(rounds)} at a time; "
            "let experiments share one with --jobs-per-gpu"
        )
    number = jobs or len(rounds)
    return [Slot(group, _threads(number)) for group in rounds[:number]]


def _threads(slots: int) -> int | None:
    """The processors divided among experiments that run at once: more threads than cores make all of them slower."""
    if slots == 1 or "OMP_NUM_THREADS" in os.environ:
        return None
    return max(1, processors() // slots)


def processors() -> int:
    """Processors that this process may use: fewer than the machine has where it was bound to some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
