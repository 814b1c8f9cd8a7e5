"""The folder of the fork server's socket. A killed sweep cannot remove its folder, so the next sweep does.

Python would create `pymp-…` in the system's temporary folder and leave it there forever when the process is killed.
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
    """Make multiprocessing put its sockets into our own folder, and remove the folders of killed sweeps.

    A sweep holds a lock on its folder, which ends with the process.

    Raises:
        OSError: the folder cannot be created.
    """
    config = process.current_process()._config  # type: ignore[attr-defined]
    if config.get("tempdir") is not None:
        return
    _remove_old(Path(tempfile.gettempdir()))
    folder = _locked_folder()
    atexit.register(_remove, folder, os.getpid())
    config["tempdir"] = str(folder)


def _locked_folder() -> Path:
    """Create and return a folder that is locked until this process ends."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        handle = os.open(folder, os.O_RDONLY)
        with suppress(OSError):  # without locks in the file system, no sweep removes the folder either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if folder.exists():  # another sweep may have removed it as an old one before it was locked
            return folder
        os.close(handle)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a fork
        shutil.rmtree(folder, ignore_errors=True)


def _remove_old(parent: Path) -> None:
    """Remove this user's folders that no process has locked."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(handle).st_uid == os.geteuid():
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
