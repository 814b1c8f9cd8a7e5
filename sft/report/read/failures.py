"""Last lines of the log of a run without a result, without secrets."""

from __future__ import annotations

from sft.log import plain
from sft.results.store import RunFolder
from sft.secrets import redact_text

TAIL_LINES = 20
_LONGEST_LINE = 500


def log_tail(folder: RunFolder, lines: int = TAIL_LINES) -> list[str]:
    """Return the last lines of a run's log, shortened and without control characters and secrets."""
    text = redact_text("\n".join(folder.log_tail(lines)))  # redacted as a whole, since a secret may span several lines
    shown = [plain(line) for line in text.split("\n") if line.strip()]
    return [line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} …" for line in shown]
