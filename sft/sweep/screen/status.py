"""Show the progress of a sweep for `status`, from the files in its results folder.

No file is changed. It is fast for any number of experiments: an existing result counts without being checked (`report`
checks it), and only experiments without a result are read.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from sft.errors import UserError
from sft.log import plain
from sft.results.schema import RunState
from sft.results.states import GONE, in_words, is_gone
from sft.results.store import ResultStore, RunFolder
from sft.sweep.screen.progress import Counts, Running, course, cut, seconds_left, time_left

SECONDS_BETWEEN_UPDATES = 2.0
MOST_FAILURES = 10
_TIMED = 50  # finished experiments whose mean duration estimates the time left
_FAILED_STATES = ("failed", "oom", "timeout", "interrupted")


class _Failed(NamedTuple):
    """An experiment that ended without a result."""

    name: str
    state: str
    error: str
    log: Path


class SweepProgress(NamedTuple):
    """The progress of a plan's experiments."""

    counts: Counts
    running: Sequence[Running]
    failed: Sequence[_Failed]
    durations: Sequence[float]

    @property
    def is_over(self) -> bool:
        """Return whether every experiment is done or has failed."""
        return self.counts.done + self.counts.failed >= self.counts.total


def show_status(results: Path, watch: bool = False) -> None:
    """Print the progress of a sweep.

    Args:
        results: the results folder.
        watch: redraw it every two seconds until the sweep is over, or Ctrl-C.

    Raises:
        UserError: no sweep was run there.
    """
    console = Console(highlight=False)
    progress = read_progress(results)
    if watch and not progress.is_over:
        with suppress(KeyboardInterrupt):
            _watch(results, progress, console)
        return
    console.print(_describe(progress, console), soft_wrap=True)


def _watch(results: Path, progress: SweepProgress, console: Console) -> None:
    """Redraw until the sweep is over. Without a terminal, print a line per change and the full progress at the end."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            live.update(_describe(progress, console), refresh=True)
            while not progress.is_over:
                time.sleep(SECONDS_BETWEEN_UPDATES)
                progress = read_progress(results)
                live.update(_describe(progress, console), refresh=True)
        return
    printed: Counts | None = None
    while not progress.is_over:
        if progress.counts != printed:
            console.print(_in_one_line(progress), markup=False, soft_wrap=True)
            printed = progress.counts
        time.sleep(SECONDS_BETWEEN_UPDATES)
        progress = read_progress(results)
    console.print(_describe(progress, console), soft_wrap=True)


def describe_status(results: Path) -> RenderableType:
    """Return the progress of a sweep for printing.

    Raises:
        UserError: no sweep was run there.
    """
    return _describe(read_progress(results), Console(highlight=False))


def read_progress(results: Path) -> SweepProgress:
    """Read the progress of a sweep.

    Raises:
        UserError: no sweep was run there.
    """
    store, now = ResultStore(results), time.time()
    running: list[Running] = []
    failed: list[_Failed] = []
    finished: list[tuple[float, RunFolder]] = []
    plan = _plan(store)
    for entry in plan:
        name, folder = _of_entry(store, entry)
        with suppress(OSError):
            finished.append((os.stat(folder.result_file).st_mtime, folder))  # noqa: PTH116 - ten thousand times
            continue
        state = folder.state()
        if state is not None and state.state == "running" and not is_gone(store, folder.id):
            seconds = max(0.0, now - (state.started or now))  # the clock of another host may be ahead
            running.append(Running(_with_host(name, state), state, seconds))
        elif state is not None and state.state in ("running", *_FAILED_STATES):
            failed.append(_failed(name, folder, state))
    counts = Counts(len(plan), len(finished), len(running), len(failed))
    return SweepProgress(counts, running, failed, _durations(finished))


def _plan(store: ResultStore) -> list[Any]:
    plan = store.plan()
    if plan is None:
        raise UserError(f"{store.root}: no sweep was run here: there is no plan.json (run-experiments writes it)")
    return plan


def _of_entry(store: ResultStore, entry: Any) -> tuple[str, RunFolder]:
    """Return the name and folder of an experiment in the plan."""
    try:
        return str(entry["name"]), store.folder(str(entry["id"]), str(entry["folder"]).rpartition("-")[0])
    except (KeyError, TypeError):
        raise UserError(f"{store.plan_file}: is not a plan of this version; run the grid again") from None


def _failed(name: str, folder: RunFolder, state: RunState) -> _Failed:
    if state.state == "running":
        return _Failed(name, "interrupted", GONE, folder.log_file)
    return _Failed(name, state.state, state.error or folder.last_error_line(), folder.log_file)


def _with_host(name: str, state: RunState) -> str:
    """Return a running experiment's name, with its host if that is another one."""
    return name if state.host in ("", socket.gethostname()) else f"{name} @{state.host}"


def _durations(finished: Sequence[tuple[float, RunFolder]]) -> list[float]:
    """Return the seconds of the experiments that finished last."""
    states = [folder.state() for _, folder in sorted(finished, key=lambda item: -item[0])[:_TIMED]]
    return [
        state.updated - state.started
        for state in states
        if state is not None and state.state == "done" and state.started is not None and state.updated is not None
    ]


def _left(progress: SweepProgress) -> str:
    counts = progress.counts
    if not counts.running:
        return "" if progress.is_over else "nothing is running"
    used = [experiment.seconds for experiment in progress.running]
    return time_left(seconds_left(progress.durations, used, counts.waiting, len(used)), counts.running)


def _in_one_line(progress: SweepProgress) -> str:
    return ", ".join(part for part in (str(progress.counts), _left(progress)) if part)


def _describe(progress: SweepProgress, console: Console) -> RenderableType:
    """Render failures, running experiments, bar and counts in at most the height of the terminal."""
    width, height = console.size
    most = max(1, min(MOST_FAILURES, (height - 8) // 3)) if console.is_terminal else MOST_FAILURES
    shown = [_failure(failed, width) for failed in progress.failed[:most]]
    used = sum(len(text.plain) // width + 2 for text in shown)
    if more := len(progress.failed) - len(shown):
        shown.append(Text(f"… and {more} more; `report` lists them all", style="red"))
    room = height - used if console.is_terminal else len(progress.running) + 8
    return Group(*shown, course(progress.counts, progress.running, _left(progress), width, room))


def _failure(failed: _Failed, width: int) -> Text:
    """Render a failure: state, name and error, and on the next line the complete path of its log."""
    title = f"{in_words(failed.state)}: {plain(failed.name)}"
    first = cut(f"{title}  {failed.error}" if failed.error else title, width)
    # without an overflow setting, the path is wrapped only where it is redrawn
    return Text(f"{first}\n  {plain(str(failed.log))}", style="red")
