"""Log lines and progress, without secrets. Knows nothing of the work.

Engines take a `Progress` and call it; their caller decides whether it draws a bar, updates `state.json`, or is
`silent`.
"""

from __future__ import annotations

import codecs
import errno
import io
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TextIO

from sft.errors import UserError
from sft.secrets import redact_text

LOGGER_NAME = "sft"
# transformers imports torchao if it is installed, which then logs about missing kernels.
HEARD_ON_IMPORT = ("torchao", "torch.utils._pytree")
_CONTROL = dict.fromkeys([
    *range(32), *range(127, 160), 0x2028, 0x2029,
    *range(0x202A, 0x202F), *range(0x2066, 0x206A),  # change the direction of writing: "exe.txt" may be a program
])  # fmt: skip


class Progress(Protocol):
    """A function that reports the progress of a phase. `note` is a short figure to show with it (`loss 0.31`)."""

    def __call__(self, phase: str, done: int, total: int, note: str = "") -> None: ...


def silent(phase: str, done: int, total: int, note: str = "") -> None:
    """Show nothing."""


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module: `get_logger(__name__)`."""
    return logging.getLogger(name)


def configure_logging(verbose: bool = False) -> None:
    """Send `sft`'s log lines to stderr, `warning: …` for warnings, plain for the rest. Safe to call twice."""
    for name in HEARD_ON_IMPORT:
        logging.getLogger(name).setLevel(logging.ERROR)
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_LineFormatter())
        logger.addHandler(handler)


@contextmanager
def also_logged(file: Path) -> Iterator[None]:
    """Write log lines to `file` too in the block, unless stderr is that file (the process of a sweep)."""
    logger = logging.getLogger(LOGGER_NAME)
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(_LineFormatter())
    try:
        already = Path("/dev/stderr").samefile(file)
    except OSError:
        already = False
    if not already:
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = redact_text(super().format(record))  # including the traceback of an exception
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


class OutputError(UserError, OSError):
    """The output of a command cannot be written: the disk is full, or the reader is gone."""

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno = number


def redact_output() -> None:
    """Replace stdout and stderr by `RedactingStream`s; characters that they cannot encode are escaped."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # typer bypasses an ASCII stream, and with it the redaction
            encoding = "utf-8" if codecs.lookup(stream.encoding).name == "ascii" else None
            stream.reconfigure(encoding=encoding, errors="backslashreplace")  # it may lack characters of the data
    sys.stdout = RedactingStream(sys.stdout)
    sys.stderr = RedactingStream(sys.stderr, lossy=True)


def _open_closed_streams() -> None:
    """Redirect standard streams that were closed before the start (`2>&-`) to /dev/null.

    Otherwise the next opened file gets their number, and a library's output is written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)  # else it is closed again in child processes
    if None in (sys.stdin, sys.stdout, sys.stderr):
        open_streams()


def open_streams() -> None:
    """Recreate Python's standard streams on the current file descriptors 0, 1 and 2."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        mode, lines = ("r", -1) if number == 0 else ("w", 1)
        setattr(sys, name, open(number, mode, buffering=lines, errors="backslashreplace", closefd=False))  # noqa: SIM115


class RedactingStream:
    """A text stream without secrets, for stdout and stderr.

    Otherwise it behaves like the wrapped stream, terminal or file. Each write is redacted separately: a secret in two
    pieces, or with colour codes inside, is not found, nor are bytes that are written to `buffer`.

    Text that cannot be written is dropped. After a permanent failure (the reader is gone), nothing more is written.

    Args:
        stream: the wrapped stream.
        lossy: drop text silently, because the work matters more than its output.
    """

    def __init__(self, stream: TextIO, lossy: bool = False) -> None:
        self._stream = stream
        self.begin(lossy)

    def begin(self, lossy: bool) -> None:
        """Reset the stream for another command."""
        self._lossy, self._given_up = lossy, False

    def write(self, text: str) -> int:
        """Write `text` without its secrets and return the length of `text`.

        Raises:
            OutputError: it cannot be written, and the stream is not lossy; raised only once.
        """
        shown = redact_text(text)
        if shown:  # click writes an empty string to test the stream, and must get no error
            self._try(lambda: self._stream.write(shown))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several strings."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the wrapped stream."""
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], Any]) -> None:
        if self._given_up:
            return
        try:
            act()
        except OSError as error:
            if self._lossy and error.errno in (errno.ENOSPC, errno.EDQUOT):
                return  # there may be space again
            self._give_up()
            if not self._lossy:
                raise OutputError(f"the output cannot be written: {error.strerror or error}", error.errno) from error

    def _give_up(self) -> None:
        """Redirect the buffered text to /dev/null, so that the exit of the process does not fail on it."""
        self._given_up = True
        with suppress(OSError, ValueError):
            handle, nowhere = self._stream.fileno(), os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, handle)
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def plain(text: str) -> str:
    """Return text as one line without control characters, so that no escape sequence takes effect."""
    return text.translate(_CONTROL)


def some(names: Sequence[str], most: int = 8) -> str:
    """Join the first names, without control characters, and the number of the others."""
    shown = ", ".join(map(plain, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


class ProgressBars:
    """A `Progress` for people: bars on a terminal, else one plain line at the start and end of each phase."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, phase: str, done: int, total: int, note: str = "") -> None:
        if self._terminal:
            self._draw(phase, done, total, note)
        elif phase not in self._tasks or (done >= total and self._tasks[phase] < total):
            self._tasks[phase] = done
            get_logger(__name__).info("%s %d/%d %s", phase, done, total, note)

    def _draw(self, phase: str, done: int, total: int, note: str) -> None:
        if self._bars is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bars = Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True))
            self._bars.start()
        if phase not in self._tasks:
            self._tasks[phase] = self._bars.add_task(phase, total=total, note=note)
        self._bars.update(self._tasks[phase], completed=done, total=total, note=note)


def both(first: Progress, second: Progress) -> Progress:
    """Return a `Progress` that calls two others."""

    def report(phase: str, done: int, total: int, note: str = "") -> None:
        first(phase, done, total, note)
        second(phase, done, total, note)

    return report
