"""End a child when the process that requested it ends, even by SIGKILL."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from sft.import_path import PYTHON_FLAGS
from sft.launchers.base import NoProcessError
from sft.launchers.local.process_group import ProcessGroup

SECONDS_TO_END = 4.0  # between SIGTERM and SIGKILL
_SECONDS_MORE = 2.0  # extra time, after which the reaper must have failed
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def bound_to_this_process() -> Callable[[], None] | None:
    """Return a `preexec_fn` for `Popen` that sends the child SIGTERM when this process ends. None except on Linux."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # done before the fork, as it takes locks

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent ended before the line above, so no signal will come
            os._exit(128 + signal.SIGTERM)

    return bind


def end_when_killed(number: int = signal.SIGKILL) -> None:
    """Have the kernel send this signal to the current process when its parent ends. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def watch(wait_for_parent: Callable[[], object]) -> None:
    """End the current process group and its descendants when `wait_for_parent` returns. Call it in the group's leader.

    A thread does it, so that a blocked or ignored signal handler cannot prevent it. The thread sends SIGTERM. A process
    outside the group (`reaper.py`) kills what remains, as the leader may end first, and this thread with it.
    """

    def end_with_parent() -> None:
        wait_for_parent()
        group = ProcessGroup(os.getpid())
        patience = SECONDS_TO_END
        with suppress(Exception):  # the lines below do the same as long as the leader lives
            members = group.descendants_with_birth()
            if group.others_alive():
                _start_reaper(group.pid, members)
                patience += _SECONDS_MORE
        group.send(signal.SIGTERM)
        time.sleep(patience)
        group.kill_outside()
        os.killpg(0, signal.SIGKILL)

    try:
        threading.Thread(target=end_with_parent, name="parent watch", daemon=True).start()
    except RuntimeError as error:
        if (shortage := NoProcessError.of(error)) is None:
            raise
        # The job has not started: print no traceback, and exit with the code after which the same command tries again.
        os.write(2, f"{shortage}\n".encode())
        os._exit(shortage.exit_code)


def _start_reaper(group: int, members: list[tuple[int, float]]) -> None:
    """Start the reaper as a new process rather than a fork, free of this process's threads and locks."""
    deadline = time.monotonic() + SECONDS_TO_END  # a monotonic clock, which ignores changes of the date
    subprocess.Popen(  # noqa: S603 - argv list, no shell
        [
            sys.executable,
            *PYTHON_FLAGS,
            "-m",
            "sft.launchers.local.reaper",
            str(group),
            repr(deadline),
            *(f"{pid}:{born!r}" for pid, born in members),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
