"""What is said of a run without a result: its state in words, why, and the end of its log, without secrets in it."""

from __future__ import annotations

from sft.errors import UserError
from sft.log import plain
from sft.results.store import ResultStore, RunFolder
from sft.secrets import redact_text

GONE = "its process is gone"
TAIL_LINES = 20
_LONGEST_LINE = 500
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


def log_tail(folder: RunFolder, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a run's log: no control characters, no secrets, none of endless length."""
    text = redact_text("\n".join(folder.log_tail(lines)))  # as a whole: a secret may have several lines
    found = [plain(line) for line in text.split("\n") if line.strip()]
    return [line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} …" for line in found]
