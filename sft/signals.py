"""Signal handling: the process exits cleanly by SystemExit(128 + number); a trainer may finish its step first.

Schedulers send SIGUSR1 and SIGUSR2 before the time limit: code that can save a checkpoint expects them inside
`checkpointing()`. Knows nothing of the work.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

_NOTICES = (signal.SIGUSR1, signal.SIGUSR2)


class _Notice:
    """The state shared by a signal's handler and the interrupted code."""

    def __init__(self) -> None:
        self.deferred = False
        self.number: int | None = None


_notice = _Notice()


def install_handlers() -> None:
    """Exit cleanly on SIGTERM, SIGHUP (unless it is ignored, as under nohup), SIGUSR1 and SIGUSR2."""
    signal.signal(signal.SIGTERM, _leave)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _leave)
    for number in _NOTICES:
        signal.signal(number, _leave_when_possible)


@contextmanager
def checkpointing() -> Iterator[None]:
    """Only record SIGUSR1 and SIGUSR2 in the block (see `requested`); after one of them, exit at its end."""
    _notice.deferred, _notice.number = True, None
    try:
        yield
    finally:
        _notice.deferred = False
    if _notice.number is not None:
        raise SystemExit(128 + _notice.number)


def requested() -> int | None:
    """Return the signal received since `checkpointing` was entered."""
    return _notice.number if _notice.deferred else None


def _leave(number: int, frame: Any) -> NoReturn:
    del frame
    if number == signal.SIGHUP:
        leave_terminal()
    raise SystemExit(128 + number)


def _leave_when_possible(number: int, frame: Any) -> None:
    if not _notice.deferred:
        _leave(number, frame)
    _notice.number = number


def leave_terminal() -> None:
    """Redirect output to /dev/null: every line to a closed terminal would raise an error."""
    with Path(os.devnull).open("w") as nowhere:
        for stream in (1, 2):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(nowhere.fileno(), stream)
