"""What the person sees while work goes on: log lines and progress. Knows nothing of the work.

Engines take a `Progress` and call it; whoever runs them decides whether that draws a bar, fills `state.json`, or is
`silent`.
"""

from __future__ import annotations

import logging
import sys
from typing import Protocol

LOGGER_NAME = "sft"


class Progress(Protocol):
    """Told how far a phase is. `note` is a short figure to show beside it (`loss 0.31`)."""

    def __call__(self, phase: str, done: int, total: int, note: str = "") -> None: ...


def silent(phase: str, done: int, total: int, note: str = "") -> None:
    """A `Progress` that shows nothing."""


def get_logger(name: str) -> logging.Logger:
    """The logger of a module: `get_logger(__name__)`."""
    return logging.getLogger(name)


def configure_logging(verbose: bool = False) -> None:
    """Send `sft`'s log lines to stderr, `warning: …` for warnings, plain for the rest. Safe to call twice."""
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_LineFormatter())
        logger.addHandler(handler)


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"
