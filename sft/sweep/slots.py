"""Room for experiments at a time: one slot each, with the accelerators that its experiments see. Starts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sft.errors import UserError


@dataclass(frozen=True)
class Slot:
    """Room for one experiment at a time.

    Args:
        devices: those that it sees; None: no accelerator is visible at all.
    """

    devices: tuple[str, ...] | None = None


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
        return [Slot()] * (jobs or 1)
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
    return [Slot(group) for group in rounds[: jobs or len(rounds)]]
