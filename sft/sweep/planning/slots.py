"""Slots for experiments that run at the same time, each with its visible accelerators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sft.errors import UserError


@dataclass(frozen=True)
class Slot:
    """A slot for one experiment at a time.

    Args:
        devices: visible accelerators; None: the machine has none.
    """

    devices: tuple[str, ...] | None = None


def make_slots(jobs: int | None, devices: Sequence[str], per_experiment: int = 1, per_device: int = 1) -> list[Slot]:
    """Return the slots of this machine.

    Args:
        jobs: number of slots; None: as many as the devices allow, one without devices.
        devices: visible devices.
        per_experiment: devices per experiment.
        per_device: experiments that share a device (or a group of devices).

    Raises:
        UserError: there are not enough devices.
    """
    if not devices:
        if per_experiment > 1:
            raise UserError(f"--gpus-per-experiment {per_experiment}: no GPU is visible")
        return [Slot()] * (jobs or 1)
    groups = [tuple(devices[i : i + per_experiment]) for i in range(0, len(devices), per_experiment)]
    whole = [group for group in groups if len(group) == per_experiment]
    if not whole:
        raise UserError(f"--gpus-per-experiment {per_experiment}: only {len(devices)} visible ({', '.join(devices)})")
    rounds = [group for _ in range(per_device) for group in whole]  # each device once before any is shared
    if jobs is not None and jobs > len(rounds):
        raise UserError(
            f"--jobs {jobs}: expected at most {len(rounds)} for {len(devices)} visible GPUs; "
            "let experiments share GPUs with --jobs-per-gpu"
        )
    return [Slot(group) for group in rounds[: jobs or len(rounds)]]
