"""Standard streams of a process that is already running, from C as from Python."""

from __future__ import annotations

import os


def redirect(log_file: str) -> None:
    """Send standard output and error to the end of a file, and have nothing on standard input."""
    log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(log)
    os.close(nothing)
