"""What is said of a run without a result: the end of its log, without secrets in it."""

from __future__ import annotations

from sft.log import plain
from sft.results.store import RunFolder
from sft.secrets import redact_text

TAIL_LINES = 20
_LONGEST_LINE = 500


def log_tail(folder: RunFolder, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a run's log: no control characters, no secrets, none of endless length."""
    text = redact_text("\n".join(folder.log_tail(lines)))  # as a whole: a secret may have several lines
    found = [plain(line) for line in text.split("\n") if line.strip()]
    return [line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} …" for line in found]
