"""Read the state of a process from Linux's `/proc`. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class ProcessStat(NamedTuple):
    """State of a process (`R`, `S`, `Z`, …) and its start time, in clock ticks since boot."""

    state: str
    start: int


def process_stat(pid: int) -> ProcessStat | None:
    """Read `/proc/PID/stat` (format: proc_pid_stat(5)); None if the process or `/proc` does not exist.

    The system reuses the id of a process that has ended; the id and the start time together identify a process.
    """
    try:
        # The command is in parentheses before these fields and may contain any character.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return ProcessStat(fields[0].decode(), int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None
