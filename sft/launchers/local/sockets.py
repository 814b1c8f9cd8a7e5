"""The folder of the fork server's socket, which outlives no sweep for long: a killed one cannot remove its own.

Python would make `pymp-…` in the system's temporary folder, and leave it there for good when the process is killed.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from multiprocessing import process
from pathlib import Path

_PREFIX = "sft-fork-"


def use_own_folder() -> None:
    """Have multiprocessing put its sockets into a folder of ours, and remove the folders of sweeps that were killed.

    Whoever uses a folder holds a lock on it, which ends with the process.

    Raises:
        OSError: the folder cannot be made.
    """
    config = process.current_process()._config  # type: ignore[attr-defined]
    if config.get("tempdir") is not None:
        return
    _remove_old(Path(tempfile.gettempdir()))
    folder = _locked_folder()
    atexit.register(_remove, folder, os.getpid())
    config["tempdir"] = str(folder)


def _locked_folder() -> Path:
    """Return a new folder; its lock is held until this process ends."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        handle = os.open(folder, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks: then nobody removes it either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if folder.exists():  # another sweep may have taken it for an old one before it was locked
            return folder
        os.close(handle)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a fork of it
        shutil.rmtree(folder, ignore_errors=True)


def _remove_old(place: Path) -> None:
    """Remove the folders of this user that nobody holds."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(handle).st_uid == os.geteuid():
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
