"""Find the accelerators for jobs without importing libraries that would initialise them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SECONDS_TO_ANSWER = 20  # the driver may have to start first
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # of NVIDIA, of AMD, and of both under Windows


def visible_devices() -> tuple[str, ...]:
    """Return the devices visible to a child of this process, named as in `CUDA_VISIBLE_DEVICES`: numbers or UUIDs.

    They come from that variable if it is set (empty: none), otherwise from `nvidia-smi`; without either there are none.
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
    """Return whether a child might find a device, even without `nvidia-smi` or with another vendor's device."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return bool(_named(named))
    return any(Path(driver).exists() for driver in _DRIVERS) or bool(visible_devices())


def _named(value: str) -> tuple[str, ...]:
    """Return the entries of `CUDA_VISIBLE_DEVICES` up to the first that is not a device, as the driver reads it."""
    names = []
    for entry in value.split(","):
        name = entry.strip()
        if not name or name.startswith("-") or name == "NoDevFiles":
            break
        names.append(name)
    return tuple(names)
