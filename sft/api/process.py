"""Run a command of `python -m sft.cli` in a separate process and show its lines in this process.

The caller's process keeps its signal handlers, streams, environment and imports, and a script needs no
`if __name__ == "__main__":`. It works in every thread, and where standard output is not a file (notebooks).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, NamedTuple, TextIO

from sft.errors import BUG
from sft.launchers.base import NoProcessError
from sft.launchers.local.spawn import watched
from sft.sweep.child import ended_with_us

SECONDS_FOR_THE_REST = 5.0  # wait for the end of standard error, which a left-over process may keep open
# Prefixes of error messages: ours and typer's.
_MESSAGE = re.compile(r"error: |Error: |Usage: ", re.ASCII)
_WARNING = "warning: "


class Ended(NamedTuple):
    """The end of a command: its exit code (negative: the signal), its message, and whether it was a bug of ours."""

    code: int
    message: str = ""
    bug: bool = False


def run_command(arguments: Sequence[str], quiet: bool = False) -> Ended:
    """Run a command to its end and show its output line by line.

    Ctrl-C is passed on: the command stops in order, then the caller gets KeyboardInterrupt. A second Ctrl-C stops it at
    once. Any other exception also ends the command, and so does the end of this process.

    Args:
        arguments: arguments of `python -m sft.cli`.
        quiet: show only warnings.

    Raises:
        NoProcessError: the system cannot start another process.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - argv list, no shell
            watched((sys.executable, "-m", "sft.cli", *arguments)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise NoProcessError.of(error) or error from None
    errors = _Errors(quiet)
    with process, ended_with_us(process):
        reader = threading.Thread(target=errors.read, args=(process.stderr,), name="stderr of a command", daemon=True)
        reader.start()
        interrupted = _show(process, quiet)
        reader.join(SECONDS_FOR_THE_REST)
    if interrupted:
        raise KeyboardInterrupt
    return Ended(process.returncode, errors.message, errors.bug)


def _show(process: subprocess.Popen[str], quiet: bool) -> bool:
    """Show the standard output of a process until it ends. Return whether Ctrl-C was pressed."""
    interrupted = False
    while True:
        try:
            for line in process.stdout or ():
                if not quiet:
                    _write(sys.stdout, line)
            process.wait()
            return interrupted
        except KeyboardInterrupt:
            interrupted = True
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does


class _Errors:
    """Standard error of a command: shown line by line, except for the error message at its end."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._message: list[str] = []
        self.bug = False

    @property
    def message(self) -> str:
        """The error message without its prefix; empty if there is none."""
        text = "".join(self._message)
        return re.split(r"^[eE]rror: ", text, maxsplit=1, flags=re.MULTILINE)[-1].strip()

    def read(self, stream: IO[str]) -> None:
        """Read the stream to its end."""
        with suppress(ValueError):  # the stream is closed when the command ends
            for line in stream:
                if self._message or _MESSAGE.match(line):
                    self._message.append(line)
                    continue
                self.bug = self.bug or line.startswith(BUG)
                # everything after a traceback is shown
                self._quiet = self._quiet and not line.startswith("Traceback (")
                if not self._quiet or line.startswith(_WARNING):
                    _write(sys.stderr, line)


def _write(stream: TextIO | None, line: str) -> None:
    if stream is not None:
        stream.write(line)
        stream.flush()
