"""A process and all its descendants, seen from outside: signals to all of them, and their memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sft.procfs import process_stat

if TYPE_CHECKING:
    import psutil


class ProcessGroup:
    """The process group of a leader, and descendants in other groups.

    Args:
        pid: process id of the leader.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._known: set[psutil.Process] = set()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, or to the leader alone if the group does not exist yet.

        Descendants are noted first: once their parents have ended, they cannot be identified.
        """
        self._note_descendants()
        self._send(number)

    def _send(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL to the group and to every descendant, also those in other groups."""
        self.send(signal.SIGKILL)
        self._kill_known()

    def kill_outside(self) -> None:
        """Send SIGKILL to every descendant outside the group. The leader itself calls this."""
        self._note_descendants()
        self._kill_known(except_group=self.pid)

    def end_all(self) -> None:
        """Send SIGKILL to the remaining group, the noted descendants, and their children.

        The current process is excluded, as one of them may have started it.
        """
        import psutil

        self._note_descendants()
        for process in tuple(self._known):
            with suppress(psutil.Error):
                self._known.update(process.children(recursive=True))
        self._known.discard(psutil.Process())
        self.kill_remaining()

    def kill_remaining(self) -> None:
        """Kill the processes that an ended leader left behind: its group, and the noted descendants."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._kill_known()

    def descendants_with_birth(self) -> list[tuple[int, float]]:
        """Return the process ids of the descendants with their birth times (see `_birth`)."""
        import psutil

        descendants = []
        self._note_descendants()
        for process in self._known:
            with suppress(psutil.Error):
                descendants.append((process.pid, _birth(process)))
        return descendants

    def note(self, pid: int, born: float) -> None:
        """Note a process as a descendant, if the process with this id was born at that time."""
        import psutil

        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if _birth(process) == born:
                self._known.add(process)

    def others_alive(self) -> bool:
        """Return whether other processes of the group or noted descendants are alive. Zombies do not count."""
        return any(map(_is_alive, self._known)) or any(map(_is_alive, self._members()))

    def _members(self) -> Iterator[psutil.Process]:
        """Yield the processes of the group other than its leader."""
        import psutil

        for pid in psutil.pids():
            with suppress(OSError, psutil.Error):
                if pid != self.pid and os.getpgid(pid) == self.pid:
                    yield psutil.Process(pid)

    def exceeds(self, limit: int) -> bool:
        """Return whether leader and descendants use more memory than a limit in bytes. Shared memory counts once.

        Measuring shared memory is slow, so it is done only when the sum of resident memory exceeds the limit.
        """
        return self._sum(_resident) > limit and self._sum(_proportional) > limit

    def _sum(self, measure: Callable[[psutil.Process], int]) -> int:
        import psutil

        total = 0
        with suppress(psutil.Error):
            for process in [psutil.Process(self.pid), *self._descendants()]:
                with suppress(psutil.Error):
                    total += measure(process)
        return total

    def _note_descendants(self) -> None:
        self._known.update(self._descendants())

    def _kill_known(self, except_group: int | None = None) -> None:
        for process in self._known:
            with suppress(Exception):  # errors of psutil: the process has ended, or its id was reused
                if except_group is None or os.getpgid(process.pid) != except_group:
                    process.kill()

    def _descendants(self) -> list[psutil.Process]:
        import psutil

        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.Error:
            return []


def _is_alive(process: psutil.Process) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _birth(process: psutil.Process) -> float:
    """Return the birth time of a process: on Linux since the system start, so that clock changes do not affect it."""
    stat = process_stat(process.pid)
    return float(process.create_time()) if stat is None else stat.start / os.sysconf("SC_CLK_TCK")


def _resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def _proportional(process: psutil.Process) -> int:
    """Return the memory of a process with shared pages divided among their users, or its resident memory if unknown."""
    import psutil

    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return _resident(process)


def out_of_memory_kills() -> int:
    """Return the number of processes that the kernel has killed so far for lack of memory; 0 if unknown."""
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return 0
