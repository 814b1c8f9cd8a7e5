"""A process and all that it started, as seen from outside: signals to all of them, and the memory that they hold."""

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
    """The group that a process leads, and descendants that left it for groups of their own.

    Args:
        pid: of the leader.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._seen: set[psutil.Process] = set()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the whole group; to the leader alone while it is about to make it.

        Descendants are noted first: once their parents have ended, nothing tells that they were part of this.
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
        """SIGKILL to the group and to every descendant, wherever it has gone."""
        self.send(signal.SIGKILL)
        self._kill_seen()

    def kill_others(self) -> None:
        """SIGKILL to every descendant outside the group: for a leader that does it to its own."""
        self._note_descendants()
        self._kill_seen(but_group=self.pid)

    def end_rest(self) -> None:
        """SIGKILL to what is left of the group and of those that were noted, and to what they have started since.

        All but this very process, which one of them may have started.
        """
        import psutil

        self._note_descendants()
        for process in tuple(self._seen):
            with suppress(psutil.Error):
                self._seen.update(process.children(recursive=True))
        self._seen.discard(psutil.Process())
        self.sweep_up()

    def sweep_up(self) -> None:
        """End what a leader that has ended left behind: in its group, and what was seen of it outside."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._kill_seen()

    def descendants_born(self) -> list[tuple[int, float]]:
        """The descendants, each with the time of its birth (see `_birth`)."""
        import psutil

        found = []
        self._note_descendants()
        for process in self._seen:
            with suppress(psutil.Error):
                found.append((process.pid, _birth(process)))
        return found

    def note(self, pid: int, born: float) -> None:
        """That a process is a descendant, where it is still the one that was born then."""
        import psutil

        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if _birth(process) == born:
                self._seen.add(process)

    def others_live(self) -> bool:
        """Whether anybody but the leader is left: of its group, or noted. Those that only wait for burial are not."""
        return any(map(_lives, self._seen)) or any(map(_lives, self._members()))

    def _members(self) -> Iterator[psutil.Process]:
        """The group but for its leader: its descendants and what they left behind."""
        import psutil

        for pid in psutil.pids():
            with suppress(OSError, psutil.Error):
                if pid != self.pid and os.getpgid(pid) == self.pid:
                    yield psutil.Process(pid)

    def holds_more_than(self, limit: int) -> bool:
        """Whether leader and descendants hold more memory than that, in bytes; what several share counts once in all.

        How much is shared takes the system a while to tell: only asked where it matters.
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
        self._seen.update(self._descendants())

    def _kill_seen(self, but_group: int | None = None) -> None:
        for process in self._seen:
            with suppress(Exception):  # psutil's own kinds: it has ended, or its number is another's by now
                if but_group is None or os.getpgid(process.pid) != but_group:
                    process.kill()

    def _descendants(self) -> list[psutil.Process]:
        import psutil

        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.Error:
            return []


def _lives(process: psutil.Process) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _birth(process: psutil.Process) -> float:
    """Return when a process was born: on Linux in seconds since the system started, so that no set clock moves it."""
    stat = process_stat(process.pid)
    return float(process.create_time()) if stat is None else stat.start / os.sysconf("SC_CLK_TCK")


def _resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def _proportional(process: psutil.Process) -> int:
    """What a process holds, its shared pages divided among those that share them; resident where nobody tells."""
    import psutil

    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return _resident(process)


def kills_for_lack_of_memory() -> int:
    """How many processes the kernel has ended so far for lack of memory; 0 where it does not say."""
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return 0
