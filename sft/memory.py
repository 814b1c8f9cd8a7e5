"""Out-of-memory errors, and their number in earlier attempts of this run. Imports no torch."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_MESSAGES = ("out of memory", "DefaultCPUAllocator: ", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")

_HALVINGS: ContextVar[int] = ContextVar("halvings", default=0)


def halvings() -> int:
    """Return how often batches are halved, because memory ran out in earlier attempts of this run. Results stay equal.

    Used by code that makes batches (training, scoring, generation, lm-eval) or writes the result and state.
    """
    return _HALVINGS.get()


@contextmanager
def halved(times: int) -> Iterator[None]:
    """Run an attempt with batches halved this many times."""
    token = _HALVINGS.set(times)
    try:
        yield
    finally:
        _HALVINGS.reset(token)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or one of its causes, is an out-of-memory error.

    It knows the errors of CUDA, MPS, CPU allocations and the operating system.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if _is_memory_error(cause):
            return True
        seen.add(id(cause))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return False


def _is_memory_error(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)
