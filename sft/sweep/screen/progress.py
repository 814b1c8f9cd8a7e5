"""Render the progress of a sweep: counts, running experiments, a bar, the time left.

It is used for the sweep of this process (`display.py`) and for other sweeps (`status.py`). It reads no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sft.log import plain
from sft.results.schema import RunState

_GAP = "  "
# On a narrow terminal, columns (0 name, 1 phase, 3 note) are truncated to these widths, in this order.
_CUTS = ((3, 12), (0, 24), (1, 8), (3, 6), (0, 12))
_STYLES = ("bold", "cyan", "", "", "dim")
_BAR_WIDTH = 32


class Counts(NamedTuple):
    """Number of experiments by status; `elsewhere` counts the ones that another sweep runs."""

    total: int
    done: int = 0
    running: int = 0
    failed: int = 0
    elsewhere: int = 0

    @property
    def waiting(self) -> int:
        """Return the number of experiments that have not started."""
        return max(0, self.total - self.done - self.running - self.failed - self.elsewhere)

    def __str__(self) -> str:
        """Return `12 done · 2 running · 1 failed · 43 waiting`."""
        parts = [f"{self.done} done", f"{self.running} running", f"{self.failed} failed", f"{self.waiting} waiting"]
        return " · ".join([*parts, *([f"{self.elsewhere} elsewhere"] if self.elsewhere else [])])


class Running(NamedTuple):
    """A running experiment: its name, last state and running time."""

    name: str
    state: RunState
    seconds: float


def duration(seconds: float) -> str:
    """Format seconds: `8 s`, `14 min 20 s`, `3 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def seconds_left(durations: Sequence[float], used: Sequence[float], waiting: int, slots: int) -> float | None:
    """Estimate the seconds left from the mean duration of finished experiments.

    Args:
        durations: seconds of finished experiments.
        used: seconds so far of each running experiment.
        waiting: number of experiments left to start.
        slots: number of experiments at a time.

    Returns:
        None while nothing has finished; 0 if all remaining experiments already take longer than the mean.
    """
    if not durations:
        return None
    mean = sum(durations) / len(durations)
    left = [max(0.0, mean - seconds) for seconds in used]
    if not waiting:
        return max(left, default=0.0)
    at_a_time = max(1, min(slots, len(used) + waiting))
    return max(mean, (sum(left) + waiting * mean) / at_a_time)


def time_left(seconds: float | None, unfinished: int) -> str:
    """Format the time left, rounded like the estimate: `about 14 min left`; empty if it is unknown."""
    if seconds is None or not unfinished:
        return ""
    if seconds <= 0:
        return "longer than the others took"
    if seconds < 600:
        step = 5 if seconds < 60 else 10
        return f"about {duration(max(step, step * round(seconds / step)))} left"
    if seconds < 3600:
        return f"about {round(seconds / 60)} min left"
    return f"about {duration(300 * round(seconds / 300))} left"


def course(counts: Counts, running: Sequence[Running], left: str, width: int, height: int) -> RenderableType:
    """Render the running experiments that fit on the terminal, then the bar and the counts.

    Args:
        counts: counts of all experiments.
        running: running experiments.
        left: the time left, in words.
        width, height: characters and lines of the terminal.
    """
    room = max(1, height - 5)
    shown = list(running[:room]) if len(running) <= room else list(running[: max(1, room - 1)])
    lines = _table([_cells(experiment) for experiment in shown], width)
    if len(running) > len(shown):
        lines.append(Text(f"… and {len(running) - len(shown)} more", style="dim", no_wrap=True))
    return Group(*lines, _bar(counts, left, width), Text(cut(str(counts), width), no_wrap=True))


def cut(text: str, width: int) -> str:
    """Return text without control characters, truncated to a width with `…`."""
    text = plain(text)
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)) + "…"


def _cells(running: Running) -> tuple[str, ...]:
    state = running.state
    step = f"{state.done}/{state.total}" if state.total else ""
    return plain(running.name), plain(state.phase), step, plain(state.note), duration(running.seconds)


def _table(rows: Sequence[tuple[str, ...]], width: int) -> list[Text]:
    """Return aligned lines, never wider than the terminal."""
    if not rows:
        return []
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]))]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    for column, narrowest in _CUTS:
        taken = max(0, min(excess, widths[column] - narrowest))
        widths[column] -= taken
        excess -= taken
    lines = []
    for row in rows:
        line = Text(no_wrap=True)
        for column, (cell, style) in enumerate(zip(row, _STYLES, strict=True)):
            line.append(set_cell_size(cut(cell, widths[column]), widths[column]) + _GAP, style=style)
        line.rstrip()
        line.truncate(width, overflow="ellipsis")
        lines.append(line)
    return lines


def _bar(counts: Counts, left: str, width: int) -> RenderableType:
    ended = counts.done + counts.failed
    count = f"{ended} of {counts.total}"
    room = width - len(count) - len(left) - 3
    grid = Table.grid(padding=(0, 1))
    if room < 4:
        return Text(cut(f"{count} {left}", width), no_wrap=True)
    grid.add_row(Text(count), ProgressBar(counts.total, ended, width=min(_BAR_WIDTH, room)), Text(left, no_wrap=True))
    return grid
