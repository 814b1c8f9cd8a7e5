"""The state of a run: in words, and whether one that is said to run has been left."""

from __future__ import annotations

from sft.errors import UserError
from sft.results.store import ResultStore

GONE = "its process is gone"
_WORDS = {"oom": "out of memory", "timeout": "timed out", "missing": "not run yet"}


def in_words(state: str) -> str:
    """A state as a person reads it: `oom` is `out of memory`."""
    return _WORDS.get(state, state)


def is_gone(store: ResultStore, run_id: str) -> bool:
    """Whether a run whose state says `running` has been left: no process has it in its hands, and no sweep.

    Each lock is tried for an instant; where that cannot be told, the state is believed. A holder that gave no sign of
    life for too long counts as gone before it is taken over.
    """
    try:
        return all(
            lock.is_free() or lock.is_silent() for lock in (store.lock(run_id, "run"), store.lock(run_id, "claim"))
        )
    except (UserError, OSError):
        return False
