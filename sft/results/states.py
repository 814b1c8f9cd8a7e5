"""The state of a run in words, and a check whether the process of a running run is gone."""

from __future__ import annotations

from sft.errors import UserError
from sft.results.store import ResultStore

GONE = "its process is gone"
_WORDS = {"oom": "out of memory", "timeout": "timed out", "missing": "not run yet"}


def in_words(state: str) -> str:
    """Return a state in words for people: `oom` is `out of memory`."""
    return _WORDS.get(state, state)


def is_gone(store: ResultStore, run_id: str) -> bool:
    """Return whether a run in the state `running` has neither a process nor a sweep.

    It tries each lock briefly. If that fails, the state is trusted. A holder without a recent heartbeat counts as gone
    even before it is replaced.
    """
    try:
        return all(
            lock.is_free() or lock.is_silent() for lock in (store.lock(run_id, "run"), store.lock(run_id, "claim"))
        )
    except (UserError, OSError):
        return False
