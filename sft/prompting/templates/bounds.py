"""Limits on the time and the memory of rendering a chat template. Uses no conversations.

Jinja's sandbox limits neither. A template comes with a model, and a long loop in it would block a whole sweep.
"""

from __future__ import annotations

import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sft.errors import ModelError

SECONDS = 5  # of CPU time
MEMORY = 1 << 30  # bytes on top of the memory that the process already uses
_STATM = Path("/proc/self/statm")


class _OutOfTimeError(BaseException):
    """Raised by the timer. As a BaseException, neither templates nor libraries catch it."""


@contextmanager
def bounded() -> Iterator[None]:
    """Raise a ModelError if the block takes more than SECONDS or MEMORY.

    The timer works only in the main thread, where prompts are rendered. The memory limit works only on Linux.
    """
    try:
        with _timed() if threading.current_thread() is threading.main_thread() else nullcontext(), _in_memory():
            yield
    except _OutOfTimeError:
        raise ModelError(
            f"the chat template takes more than {SECONDS} s to render one conversation{_INSTEAD}"
        ) from None
    except MemoryError:
        raise ModelError(f"the chat template takes more than 1 GB for one conversation{_INSTEAD}") from None


_INSTEAD = "; use another with model.chat_template_from"


@contextmanager
def _timed() -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise _OutOfTimeError

    # CPU time: a process that was stopped or had to wait must not fail.
    before = signal.signal(signal.SIGVTALRM, stop)
    rest, interval = signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, rest, interval)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def _in_memory() -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = int(_STATM.read_text().split()[0]) * resource.getpagesize() + MEMORY
    if soft != resource.RLIM_INFINITY and soft <= most:
        yield
        return
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
