"""What the person sees while work goes on: log lines and progress, without secrets. Knows nothing of the work.

Engines take a `Progress` and call it; whoever runs them decides whether that draws a bar, fills `state.json`, or is
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
# torchao, which transformers imports wherever it is installed, tells then of kernels that nobody asked for.
HEARD_ON_IMPORT = ("torchao", "torch.utils._pytree")
_CONTROL = dict.fromkeys([
    *range(32), *range(127, 160), 0x2028, 0x2029,
    *range(0x202A, 0x202F), *range(0x2066, 0x206A),  # turn the direction of writing round: "exe.txt" is a program
])  # fmt: skip


class Progress(Protocol):
    """Told how far a phase is. `note` is a short figure to show beside it (`loss 0.31`)."""

    def __call__(self, phase: str, done: int, total: int, note: str = "") -> None: ...


def silent(phase: str, done: int, total: int, note: str = "") -> None:
    """A `Progress` that shows nothing."""


def get_logger(name: str) -> logging.Logger:
    """The logger of a module: `get_logger(__name__)`."""
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
    """Inside, log lines go to `file` too, unless stderr already does (the process of a sweep)."""
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
        text = redact_text(super().format(record))  # the traceback of an exception included
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


class OutputError(UserError, OSError):
    """What a command has to say cannot be written: the disk is full, or nobody reads it any more."""

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno = number


def redact_output() -> None:
    """Let nothing through to stdout and stderr but `RedactingStream`s, which write what these know, or its escapes."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # typer goes round a stream that says it is ASCII, and so round what keeps secrets from it
            encoding = "utf-8" if codecs.lookup(stream.encoding).name == "ascii" else None
            stream.reconfigure(encoding=encoding, errors="backslashreplace")  # it may know less than the data has
    sys.stdout = RedactingStream(sys.stdout)
    sys.stderr = RedactingStream(sys.stderr, lossy=True)


def _open_closed_streams() -> None:
    """Point the standard streams that were closed before we began (`2>&-`) at nothing.

    Else the next file that is opened gets their number, and what a library prints is written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)  # else those that are started here have it closed again
    if None in (sys.stdin, sys.stdout, sys.stderr):
        open_streams()


def open_streams() -> None:
    """Make Python's standard streams anew, on the file descriptors 0, 1 and 2 as they are now."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        mode, lines = ("r", -1) if number == 0 else ("w", 1)
        setattr(sys, name, open(number, mode, buffering=lines, errors="backslashreplace", closefd=False))  # noqa: SIM115


class RedactingStream:
    """A text stream that secrets do not get through to: for stdout and stderr, whoever writes there.

    In all else it is the stream that it was given, terminal or file. Each write is looked at by itself: a secret that
    arrives in two pieces, or with colour codes inside it, gets through, as do bytes that are written to `buffer`.

    Where text cannot be written it is dropped; once it is known that none ever will be (nobody reads any more), nothing
    is tried again.

    Args:
        stream: where the text goes.
        lossy: say nothing of that, where lines are worth less than the work that they tell of.
    """

    def __init__(self, stream: TextIO, lossy: bool = False) -> None:
        self._stream = stream
        self.begin(lossy)

    def begin(self, lossy: bool) -> None:
        """Start anew, with another command: see the argument of that name."""
        self._lossy, self._given_up = lossy, False

    def write(self, text: str) -> int:
        """Write `text` without its secrets; the length of the text as given.

        Raises:
            OutputError: it cannot be written, and the stream is not lossy; only the first time.
        """
        shown = redact_text(text)
        if shown:  # click asks with an empty text whether it is one for texts, and takes no error for an answer
            self._try(lambda: self._stream.write(shown))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Pass on what the stream still holds."""
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], Any]) -> None:
        if self._given_up:
            return
        try:
            act()
        except OSError as error:
            if self._lossy and error.errno in (errno.ENOSPC, errno.EDQUOT):
                return  # there may be room again
            self._give_up()
            if not self._lossy:
                raise OutputError(f"the output cannot be written: {error.strerror or error}", error.errno) from error

    def _give_up(self) -> None:
        """Let what is still held go nowhere, so that the end of the process does not stumble over it."""
        self._given_up = True
        with suppress(OSError, ValueError):
            handle, nowhere = self._stream.fileno(), os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, handle)
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def plain(text: str) -> str:
    """Text from configs, data and logs as one line without control characters: no escape sequence in it acts."""
    return text.translate(_CONTROL)


def some(names: Sequence[str], most: int = 8) -> str:
    """The first of some names, without control characters, and how many more there are."""
    shown = ", ".join(map(plain, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


class ProgressBars:
    """A `Progress` for people: bars on a terminal, else one plain line as each phase begins and ends."""

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
    """A `Progress` that tells two."""

    def tell(phase: str, done: int, total: int, note: str = "") -> None:
        first(phase, done, total, note)
        second(phase, done, total, note)

    return tell
