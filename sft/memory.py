"""Whether memory ran out, and how often it did in earlier attempts of this run. Imports no torch."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SIGNS = ("out of memory", "DefaultCPUAllocator: ", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")

_HALVINGS: ContextVar[int] = ContextVar("halvings", default=0)


def halvings() -> int:
    """Return how often memory ran out in earlier attempts of this run: batches are halved so often, results are equal.

    Asked for where a batch is made (training, scoring, generation, lm-eval) and where the result and state are written.
    """
    return _HALVINGS.get()


@contextmanager
def halved(times: int) -> Iterator[None]:
    """Run an attempt whose batches are halved so many times."""
    token = _HALVINGS.set(times)
    try:
        yield
    finally:
        _HALVINGS.reset(token)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, or was raised because of one that does.

    Known are CUDA's and MPS's, an allocation that failed on the CPU, and the operating system's refusal.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if _says_so(cause):
            return True
        seen.add(id(cause))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return False


def _says_so(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
