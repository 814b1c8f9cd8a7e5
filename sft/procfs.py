"""What Linux says of a process in `/proc`. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class ProcessStat(NamedTuple):
    """A process's state (`R`, `S`, `Z`, …) and when it started, in clock ticks since the system did."""

    state: str
    start: int


def process_stat(pid: int) -> ProcessStat | None:
    """Read `/proc/PID/stat` (the format: proc_pid_stat(5)); None without such a process, or where the system has none.

    A process id is used again after its process has ended: the id and the start together name one process.
    """
    try:
        # The command, which may hold anything, is in parentheses before these.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return ProcessStat(fields[0].decode(), int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None
