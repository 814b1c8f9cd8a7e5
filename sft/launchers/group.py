"""A process and all that it started, as seen from outside: signals to all of them, and the memory that they hold."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

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

    def sweep_up(self) -> None:
        """End what a leader that has ended left behind: in its group, and what was seen of it outside."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._kill_seen()

    def memory(self) -> int:
        """Bytes resident, summed over leader and descendants."""
        import psutil

        total = 0
        with suppress(psutil.Error):
            for process in [psutil.Process(self.pid), *self._descendants()]:
                with suppress(psutil.Error):
                    total += process.memory_info().rss
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


def kills_for_lack_of_memory() -> int:
    """How many processes the kernel has ended so far for lack of memory; 0 where it does not say."""
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return 0
