"""How far the sweep of a results folder is, for `status`: told from its files, whoever runs it, wherever.

Nothing is changed there. Quick on purpose, whatever the number of experiments: a result counts by being there (`report`
checks it), and only what has no result is read.
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
from sft.sweep.progress import Counts, Running, course, cut, seconds_left, time_left

SECONDS_BETWEEN_LOOKS = 2.0
MOST_FAILURES = 10
_TIMED = 50  # of the last finished ones, the mean of whose seconds tells how long the others take
_ENDED_BADLY = ("failed", "oom", "timeout", "interrupted")


class _Failed(NamedTuple):
    """An experiment that ended without a result."""

    name: str
    state: str
    error: str
    log: Path


class Standing(NamedTuple):
    """Where the experiments of a plan stand."""

    counts: Counts
    running: Sequence[Running]
    failed: Sequence[_Failed]
    durations: Sequence[float]

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to wait for: everything is done, or has failed."""
        return self.counts.done + self.counts.failed >= self.counts.total


def show_status(results: Path, watch: bool = False) -> None:
    """Print how far the sweep of a results folder is.

    Args:
        results: the folder.
        watch: draw it anew every two seconds, until nothing is left to wait for, or Ctrl-C.

    Raises:
        UserError: no sweep was run there.
    """
    console = Console(highlight=False)
    standing = look(results)
    if watch and not standing.is_over:
        with suppress(KeyboardInterrupt):
            _watch(results, standing, console)
        return
    console.print(_describe(standing, console), soft_wrap=True)


def _watch(results: Path, standing: Standing, console: Console) -> None:
    """Redraw until all is over; where there is no terminal, one line for each change instead, and the whole at last."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            live.update(_describe(standing, console), refresh=True)
            while not standing.is_over:
                time.sleep(SECONDS_BETWEEN_LOOKS)
                standing = look(results)
                live.update(_describe(standing, console), refresh=True)
        return
    said: Counts | None = None
    while not standing.is_over:
        if standing.counts != said:
            console.print(_in_one_line(standing), markup=False, soft_wrap=True)
            said = standing.counts
        time.sleep(SECONDS_BETWEEN_LOOKS)
        standing = look(results)
    console.print(_describe(standing, console), soft_wrap=True)


def describe_status(results: Path) -> RenderableType:
    """How far the sweep of a results folder is, to be printed.

    Raises:
        UserError: no sweep was run there.
    """
    return _describe(look(results), Console(highlight=False))


def look(results: Path) -> Standing:
    """Where each experiment of the plan stands.

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
            seconds = max(0.0, now - (state.started or now))  # another machine's clock may be ahead
            running.append(Running(_with_host(name, state), state, seconds))
        elif state is not None and state.state in ("running", *_ENDED_BADLY):
            failed.append(_failed(name, folder, state))
    counts = Counts(len(plan), len(finished), len(running), len(failed))
    return Standing(counts, running, failed, _durations(finished))


def _plan(store: ResultStore) -> list[Any]:
    plan = store.plan()
    if plan is None:
        raise UserError(f"{store.root}: no sweep was run here: there is no plan.json (run-experiments writes it)")
    return plan


def _of_entry(store: ResultStore, entry: Any) -> tuple[str, RunFolder]:
    """The name and the folder of an experiment of the plan."""
    try:
        return str(entry["name"]), store.folder(str(entry["id"]), str(entry["folder"]).rpartition("-")[0])
    except (KeyError, TypeError):
        raise UserError(f"{store.plan_file}: is not a plan of this version; run the grid again") from None


def _failed(name: str, folder: RunFolder, state: RunState) -> _Failed:
    if state.state == "running":
        return _Failed(name, "interrupted", GONE, folder.log_file)
    return _Failed(name, state.state, state.error or folder.last_error_line(), folder.log_file)


def _with_host(name: str, state: RunState) -> str:
    """A running experiment's name, with the machine that it runs on when that is another one."""
    return name if state.host in ("", socket.gethostname()) else f"{name} @{state.host}"


def _durations(finished: Sequence[tuple[float, RunFolder]]) -> list[float]:
    """Seconds of the last ones that finished."""
    states = [folder.state() for _, folder in sorted(finished, key=lambda one: -one[0])[:_TIMED]]
    return [
        state.updated - state.started
        for state in states
        if state is not None and state.state == "done" and state.started is not None and state.updated is not None
    ]


def _left(standing: Standing) -> str:
    counts = standing.counts
    if not counts.running:
        return "" if standing.is_over else "nothing is running"
    used = [one.seconds for one in standing.running]
    return time_left(seconds_left(standing.durations, used, counts.waiting, len(used)), counts.running)


def _in_one_line(standing: Standing) -> str:
    return ", ".join(part for part in (str(standing.counts), _left(standing)) if part)


def _describe(standing: Standing, console: Console) -> RenderableType:
    """Failures, what runs, the bar and the counts: no more lines than a terminal has."""
    width, height = console.size
    most = max(1, min(MOST_FAILURES, (height - 8) // 3)) if console.is_terminal else MOST_FAILURES
    shown = [_failure(one, width) for one in standing.failed[:most]]
    used = sum(len(text.plain) // width + 2 for text in shown)
    if more := len(standing.failed) - len(shown):
        shown.append(Text(f"… and {more} more; `report` lists them all", style="red"))
    room = height - used if console.is_terminal else len(standing.running) + 8
    return Group(*shown, course(standing.counts, standing.running, _left(standing), width, room))


def _failure(one: _Failed, width: int) -> Text:
    """What failed and why; on the next line where its log lies, whole."""
    what = f"{in_words(one.state)}: {plain(one.name)}"
    first = cut(f"{what}  {one.error}" if one.error else what, width)
    # no overflow of its own: a path is folded only where the whole is redrawn
    return Text(f"{first}\n  {plain(str(one.log))}", style="red")
