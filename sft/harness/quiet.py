"""Keep lm-eval quiet: no bars of its own, its warnings in our log. Knows nothing of what it does meanwhile."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from sft.log import get_logger
from sft.model.source import quiet

log = get_logger(__name__)

_LOGGER = "lm_eval"


@contextmanager
def calm(level: int = logging.WARNING) -> Iterator[None]:
    """Inside, what this thread prints is dropped, and what lm-eval logs from `level` on goes to our log, once each."""
    logger, handler = logging.getLogger(_LOGGER), _Passed(level)
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        with quiet(), redirect_stdout(_Unheard(sys.stdout)), redirect_stderr(_Unheard(sys.stderr)):
            yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated


class _Passed(logging.Handler):
    """Passes lines on to our log, as information: they are about tasks that the user chose."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())
        if text not in self._said:
            self._said.add(text)
            log.info("lm-eval: %s", text)


class _Unheard:
    """A stream that drops what the thread says that made it; others (our own bars, drawn by a thread) are heard."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        """Drop the text, or pass it on."""
        return len(text) if threading.get_ident() == self._thread else int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
