"""What the person sees while a sweep runs: on a terminal a live table, else one plain line per change of state."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from sft.log import plain
from sft.results.schema import RunState
from sft.sweep.outcome import Failure


class Line(NamedTuple):
    """One running experiment."""

    name: str
    state: RunState | None
    seconds: float


def duration(seconds: float) -> str:
    """`8 s`, `14 min 20 s`, `3 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Display:
    """Shows a sweep's course; use as a context.

    Args:
        total: experiments to run.
        jobs: how many run at a time, for the estimate of the time left.
        console: where to; a terminal gets the live table.
    """

    def __init__(self, total: int, jobs: int, console: Console) -> None:
        self._total, self._jobs, self._console = total, jobs, console
        self._durations: list[float] = []
        self._finished = 0
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[eta]}")
        )
        self._task = self._bar.add_task("experiments", total=total, eta="")
        self._live: Live | None = None
        self._last_drawn = 0.0

    def __enter__(self) -> Display:
        if self._console.is_terminal and self._total:
            self._live = Live(self._bar, console=self._console, refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def started(self, name: str) -> None:
        """An experiment was started."""
        if self._live is None:
            self._say(f"started  {name}")

    def done(self, name: str, seconds: float, note: str) -> None:
        """An experiment finished; `note` is its leading figure."""
        self._count(seconds)
        self._say(f"done     {name}  {note}  {duration(seconds)}{self._eta_note()}")

    def failed(self, failure: Failure, seconds: float | None = None) -> None:
        """An experiment failed (without `seconds`: before it started): one red line with why and where its log is."""
        self._count(seconds)
        text = f"{failure.state:<8} {failure.name}  {failure.error}  ({failure.log})"
        self._console.print(plain(text), style="red", markup=False, highlight=False, soft_wrap=True)

    def tick(self, lines: Sequence[Line]) -> None:
        """Redraw the running experiments; cheap to call often."""
        if self._live is None or time.monotonic() - self._last_drawn < 0.25:
            return
        self._last_drawn = time.monotonic()
        table = Table.grid(padding=(0, 2))
        for line in lines:
            state = line.state or RunState(state="running", phase="starting")
            step = f"{state.done}/{state.total}" if state.total else ""
            cells = (state.phase, step, plain(state.note), duration(line.seconds))
            table.add_row(Text(plain(line.name), style="bold"), *map(Text, cells))
        self._bar.update(self._task, completed=self._finished, eta=self._eta())
        self._live.update(Group(table, self._bar))

    def _count(self, seconds: float | None) -> None:
        self._finished += 1
        if seconds is not None:
            self._durations.append(seconds)

    def _eta(self) -> str:
        """The mean so far times what is left: no figure before the first has finished."""
        left = self._total - self._finished
        if not self._durations or not left:
            return ""
        mean = sum(self._durations) / len(self._durations)
        return f"about {duration(mean * left / min(self._jobs, left))} left"

    def _eta_note(self) -> str:
        eta = self._eta()
        return f"  [{self._finished} of {self._total}{', ' + eta if eta else ''}]"

    def _say(self, text: str) -> None:
        self._console.print(plain(text), markup=False, highlight=False, soft_wrap=True)
