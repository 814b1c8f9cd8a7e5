"""Show a running sweep: a live table on a terminal, otherwise a line per change of state."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live

from sft.log import LOGGER_NAME, get_logger, plain
from sft.results.schema import RunState
from sft.results.states import in_words
from sft.results.store import RunFolder
from sft.sweep.outcome import Failure
from sft.sweep.screen.progress import Counts, Running, course, cut, duration, seconds_left, time_left

log = get_logger(__name__)

SECONDS_BETWEEN_DRAWINGS = 0.25
_SHORTEST_ERROR = 30


class Line(NamedTuple):
    """A running experiment."""

    name: str
    folder: RunFolder
    seconds: float


class Display:
    """Show the progress of a sweep; use as a context manager.

    Args:
        total: number of experiments to run.
        jobs: number of experiments at a time, for the estimate of the time left.
        console: output; a terminal gets the live table.
        quiet: show only warnings.
    """

    def __init__(self, total: int, jobs: int, console: Console, quiet: bool = False) -> None:
        self._total, self._jobs, self._console, self._quiet = total, jobs, console, quiet
        self._durations: list[float] = []
        self._started: dict[str, float] = {}
        self._done = self._failed = self._elsewhere = 0
        self._lines: Sequence[Line] = ()
        self._live: Live | None = None
        self._last_drawn = 0.0
        self._restored = ExitStack()

    def __enter__(self) -> Display:
        if self._console.is_terminal and self._total and not self._quiet:
            self._live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop")
            self._live.__enter__()
            self._send_log_above()
            self._draw()
            self._last_drawn = 0.0  # show the first running experiments immediately
        return self

    def __exit__(self, *_: object) -> None:
        self._restored.close()
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def started(self, name: str) -> None:
        """Show that an experiment started."""
        self._started[name] = time.monotonic()
        if self._live is None:
            self._print(f"started  {name}")

    def done(self, name: str, seconds: float | None, note: str) -> None:
        """Show that an experiment finished, with its main figure as `note`. Without `seconds`, another sweep ran it."""
        self._done += 1
        self._ended(name)
        if seconds is not None:
            self._durations.append(seconds)
        took = "by another sweep" if seconds is None else duration(seconds)
        self._print("  ".join(part for part in (f"done     {name}", note, f"{took}{self._progress()}") if part))

    def failed(self, failure: Failure, seconds: float | None = None) -> None:
        """Show a failure as a red line with the reason and the log. Without `seconds`, it failed before it started.

        Only the duration of a timeout is used to estimate the others.
        """
        self._failed += 1
        self._ended(failure.name)
        if seconds is not None and failure.state == "timeout":
            self._durations.append(seconds)
        if not self._quiet:
            text = self._failure(failure)
            self._console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)

    def retried(self, name: str, reason: str) -> None:
        """Show that an experiment that was out of memory is retried."""
        self._ended(name)
        self._print(f"again    {name}  {reason}")

    def info(self, text: str) -> None:
        """Show a message."""
        self._print(text)

    def warning(self, text: str) -> None:
        """Show a message even if the display is quiet."""
        log.warning("%s", plain(text))

    def tick(self, lines: Sequence[Line], elsewhere: int = 0) -> None:
        """Redraw the running experiments; cheap to call often. `elsewhere` is the number that other sweeps run."""
        self._lines, self._elsewhere = lines, elsewhere
        if self._live is not None and time.monotonic() - self._last_drawn >= SECONDS_BETWEEN_DRAWINGS:
            self._draw()

    def _draw(self) -> None:
        if self._live is None:
            return
        self._last_drawn = time.monotonic()
        width, height = self._console.size
        counts = Counts(self._total, self._done, len(self._lines), self._failed, self._elsewhere)
        shown = [
            Running(line.name, line.folder.state() or RunState(state="running", phase="starting"), line.seconds)
            for line in self._lines[:height]
        ]
        shown += [Running(line.name, RunState(state="running"), line.seconds) for line in self._lines[height:]]
        self._live.update(course(counts, shown, self._left(), width, height), refresh=True)

    def _send_log_above(self) -> None:
        """Print log lines above the live table."""
        for handler in logging.getLogger(LOGGER_NAME).handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream.isatty():
                before = handler.setStream(sys.stderr)  # prints above the table while it is shown
                if before is not None:
                    self._restored.callback(handler.setStream, before)

    def _ended(self, name: str) -> None:
        self._started.pop(name, None)
        self._lines = [line for line in self._lines if line.name != name]

    def _left(self) -> str:
        """Return the time left in words; empty before the first experiment has finished."""
        unfinished = self._total - self._done - self._failed
        now = time.monotonic()
        used = [now - started for started in self._started.values()]
        waiting = max(0, unfinished - len(used) - self._elsewhere)
        return time_left(seconds_left(self._durations, used, waiting, self._jobs), unfinished)

    def _progress(self) -> str:
        """Return the number of ended experiments and the time left for a plain line. A live table shows them anyway."""
        if self._live is not None:
            return ""
        left = self._left()
        return f"  [{self._done + self._failed} of {self._total}{', ' + left if left else ''}]"

    def _failure(self, failure: Failure) -> str:
        """Return a line; on a terminal the reason is truncated so that the log's path fits."""
        parts = [
            f"{in_words(failure.state):<8} {plain(failure.name)}",
            plain(failure.error),
            f"({plain(str(failure.log))})",
        ]
        if self._live is not None:
            room = self._console.width - cell_len(parts[0]) - cell_len(parts[2]) - 4
            parts[1] = cut(parts[1], max(_SHORTEST_ERROR, room))
        return "  ".join(part for part in parts if part)

    def _print(self, text: str) -> None:
        if self._quiet:
            return
        shown = cut(text, self._console.width) if self._live is not None else plain(text)
        self._console.print(shown, markup=False, highlight=False, soft_wrap=True)
