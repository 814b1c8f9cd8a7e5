"""That a child ends when the process that asked for it ends, however it ends: killed outright, too."""

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

SECONDS_TO_END = 4.0  # between being asked to end and being ended
_SECONDS_MORE = 2.0  # after which the reaper has evidently not done it
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def bound_to_this_process() -> Callable[[], None] | None:
    """For `Popen(preexec_fn=…)`: the child gets SIGTERM when this process ends. None but on Linux."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # all that takes a lock, before the fork

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the line above: nobody is left to send the signal
            os._exit(128 + signal.SIGTERM)

    return bind


def end_when_killed(number: int = signal.SIGKILL) -> None:
    """In a process itself: have the kernel send it this signal when its parent ends. Nothing but on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def watch(wait_for_parent: Callable[[], object]) -> None:
    """In a child that leads its group: when `wait_for_parent` returns, end the group, strays outside it included.

    In a thread of its own: neither a handler that never comes to run nor one that ignores the signal is in its way. It
    asks, and a process outside the group (`reaper.py`) ends what has not heard: the leader may, this thread with it.
    """

    def end_with_parent() -> None:
        wait_for_parent()
        group = ProcessGroup(os.getpid())
        patience = SECONDS_TO_END
        with suppress(Exception):  # what is below does it too, as long as the leader lives
            members = group.descendants_born()
            if group.others_live():
                _start_reaper(group.pid, members)
                patience += _SECONDS_MORE
        group.send(signal.SIGTERM)
        time.sleep(patience)
        group.kill_others()
        os.killpg(0, signal.SIGKILL)

    try:
        threading.Thread(target=end_with_parent, name="parent watch", daemon=True).start()
    except RuntimeError as error:
        if (lacking := NoProcessError.of(error)) is None:
            raise
        # Nothing has begun: no traceback, and the exit code with which the same command tries it again.
        os.write(2, f"{lacking}\n".encode())
        os._exit(lacking.exit_code)


def _start_reaper(group: int, members: list[tuple[int, float]]) -> None:
    """Afresh rather than forked: nothing of a process full of threads and locks is in its way."""
    deadline = time.monotonic() + SECONDS_TO_END  # its clock counts on though somebody sets the date
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
