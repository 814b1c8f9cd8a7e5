"""Keep lm-eval quiet: its progress bars are dropped, its warnings go to our log."""

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
def quiet_harness(level: int = logging.WARNING) -> Iterator[None]:
    """Inside, this thread's output is dropped, and lm-eval's records from `level` on go to our log, each text once."""
    logger, handler = logging.getLogger(_LOGGER), _ToOurLog(level)
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        with quiet(), redirect_stdout(_MutedStream(sys.stdout)), redirect_stderr(_MutedStream(sys.stderr)):
            yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated


class _ToOurLog(logging.Handler):
    """A handler that logs records as information here: they are about tasks that the user chose."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._logged: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())
        if text not in self._logged:
            self._logged.add(text)
            log.info("lm-eval: %s", text)


class _MutedStream:
    """A stream that drops the output of the thread that created it; output of other threads (our bars) passes."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        """Drop the text, or pass it on."""
        return len(text) if threading.get_ident() == self._thread else int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
