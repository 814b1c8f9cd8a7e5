"""A process that ends with this one: what a command starts besides experiments. Knows not what it does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

SECONDS_TO_END = 10.0


@contextmanager
def ended_with_us(process: subprocess.Popen[Any]) -> Iterator[None]:
    """While inside, an exception ends the process too: a signal, which may have been for this process alone."""
    try:
        yield
    except BaseException:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
        process.kill()
        process.wait()
        raise
