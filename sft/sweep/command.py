"""What `run-experiments` does: run the sweep, write the comparison, say what happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from sft.config.experiment import Experiment
from sft.errors import UserError
from sft.log import some
from sft.results.states import in_words
from sft.results.store import QUARANTINE, RUNS, ResultStore
from sft.sweep.describe import counted, describe, describe_duplicates
from sft.sweep.display import Display
from sft.sweep.fixed_threads import describe_threads, settle_threads
from sft.sweep.jobs import Plan
from sft.sweep.options import SweepOptions
from sft.sweep.outcome import SweepOutcome
from sft.sweep.progress import duration
from sft.sweep.reporting import report_of
from sft.sweep.run import Sweep

SECONDS_TO_START = 60.0  # for another sweep to plan ten thousand experiments
_STOPPED = {
    129: "Hung up (SIGHUP)",
    130: "Interrupted (Ctrl-C)",
    138: "Told to save and leave (SIGUSR1)",
    140: "Told to save and leave (SIGUSR2)",
    143: "Terminated (SIGTERM)",
}


def run(plan: Plan, chosen: Sequence[Experiment], results: Path, options: SweepOptions, quiet: bool = False) -> int:
    """Run a sweep, write and print the comparison; the exit code.

    Raises:
        UserError: the results folder cannot be written.
    """
    console = Console(soft_wrap=True, highlight=False)
    store = ResultStore(results, options.stale_after)
    store.check_writable()
    damaged_before = _quarantined(store)
    with _starting_alone(store):
        threads = settle_threads(plan, store, options.threads, len(options.slots))
        options = replace(options, threads=threads.number)
        sweep = Sweep(plan, chosen, store, options)
        sweep.note_plan()
    if not quiet:
        for line in (describe(plan), *describe_duplicates(plan)):
            _say(console, line)
        for line in describe_threads(threads, len(sweep.done), len(options.slots)) if sweep.to_run else ():
            _say(console, line)
    if not sweep.to_run:
        outcome = SweepOutcome((), sweep.failures_before, tuple(e.name for e in sweep.done))
        summary = f"{len(sweep.done)} of {len(chosen)} done, nothing to run"
    else:
        if sweep.done and not quiet:
            _say(console, f"{len(sweep.done)} of {len(chosen)} already done")
        with Display(len(sweep.to_run), len(options.slots), console, quiet) as display:
            outcome = sweep.run(display)
        if outcome.hurried:
            _say(console, "Interrupted twice: nothing was reported. `report` does it from what is done.")
            return outcome.exit_code
        summary = _summary(plan, outcome)
    damaged = sorted(_quarantined(store) - damaged_before)
    _say(console, f"{summary}\n")
    reported = report_of(store, lambda line: _say(console, line))
    if damaged:
        what = f"{counted(len(damaged), 'damaged result')} moved to {store.root / QUARANTINE}"
        _say(console, f"{what}, and run again: {some(damaged)}")
    _say(console, f"Runs, with their logs: {store.root / RUNS}")
    for line in _advice(outcome):
        _say(console, line)
    return outcome.exit_code or reported


@contextmanager
def _starting_alone(store: ResultStore) -> Iterator[None]:
    """Inside, no other sweep of this folder settles its threads: two that start at once use the same number."""
    lock = store.lock("plan", "claim")
    with suppress(UserError):  # without the lock, or where another sweep hangs, both go on: the report names the runs
        lock.acquire(SECONDS_TO_START)
    try:
        yield
    finally:
        lock.release()


def _quarantined(store: ResultStore) -> set[str]:
    """Names of the damaged results that were moved out of the way so far."""
    place = store.root / QUARANTINE
    return {path.stem for path in place.iterdir()} if place.is_dir() else set()


def _summary(plan: Plan, outcome: SweepOutcome) -> str:
    parts = [f"{len(outcome.succeeded) + len(outcome.skipped)} done"]
    states = [in_words(failure.state) for failure in outcome.failed]
    parts += [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    if outcome.not_started:
        parts.append(f"{len(outcome.not_started)} not started")
    what = f"{counted(plan.configurations, 'configuration')}, {counted(len(plan.seeds), 'seed')}"
    ended = f"{_STOPPED.get(outcome.stopped, 'Stopped')}. " if outcome.stopped else ""
    return f"{ended}{what} · {', '.join(parts)} · {duration(outcome.seconds)}"


def _advice(outcome: SweepOutcome) -> list[str]:
    """What to do about what is not done: what the same command tries again, and what it does not."""
    again = sum(failure.retried for failure in outcome.failed) + len(outcome.not_started)
    kept = sum(not failure.retried for failure in outcome.failed)
    lines = []
    if again:
        lines.append(f"Run the same command again to try the {counted(again, 'experiment')} that failed or did not run")
    if kept:
        these = "experiment that failed by itself" if kept == 1 else "experiments that failed by themselves"
        lines.append(f"Add --retry-failed to try the {kept} {these} as well")
    return lines


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)
