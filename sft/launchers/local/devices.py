"""Which accelerators a job could be given, without importing what would initialise them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SECONDS_TO_ANSWER = 20  # the driver may have to wake up first
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA's, AMD's, and either's under Windows


def visible_devices() -> tuple[str, ...]:
    """The devices that a child of this process would see, as `CUDA_VISIBLE_DEVICES` names them: numbers or UUIDs.

    Those of that variable where it is set (empty: none), else all that the driver's own program lists; none without it.
    """
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return _named(named)
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed program, no shell
            [program, "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_ANSWER,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in answer.stdout.splitlines() if line.strip().isdecimal())


def device_may_be_visible() -> bool:
    """Whether a child might find a device, also where no program lists it: a container without one, another maker's."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return bool(_named(named))
    return any(Path(driver).exists() for driver in _DRIVERS) or bool(visible_devices())


def _named(value: str) -> tuple[str, ...]:
    """The entries of `CUDA_VISIBLE_DEVICES` up to the first that names no device, as the driver reads it."""
    names = []
    for entry in value.split(","):
        name = entry.strip()
        if not name or name.startswith("-") or name == "NoDevFiles":
            break
        names.append(name)
    return tuple(names)
