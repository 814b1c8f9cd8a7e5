"""Bounds on what a chat template may take: seconds and memory for each rendering. Knows nothing of conversations.

Jinja's sandbox bounds neither: a template comes with a model, and a loop in one would hold up a whole sweep.
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

SECONDS = 5  # of the processor
MEMORY = 1 << 30  # bytes beyond those that the process has already
_STATM = Path("/proc/self/statm")


class _OutOfTimeError(BaseException):
    """Raised by the timer: no template catches it, and no library mistakes it for its own."""


@contextmanager
def bounded() -> Iterator[None]:
    """Raise a ModelError where what is inside takes more than SECONDS or MEMORY.

    The timer works in the main thread only, which is where prompts are rendered; memory is bounded on Linux.
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

    # The processor's time: a process that was stopped, or that others keep waiting, is not to blame.
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
