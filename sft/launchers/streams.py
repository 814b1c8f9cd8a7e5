"""Standard streams of a process that is already running, from C as from Python."""

from __future__ import annotations

import os


def redirect(log_file: str, keep_input: bool = False) -> None:
    """Send standard output and error to the end of a file; nothing on standard input, unless it is kept."""
    log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    if not keep_input:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
