"""The command `run-experiments`: run the sweep, write the comparison, print a summary."""

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
from sft.sweep.outcome import SweepOutcome
from sft.sweep.planning.fixed_threads import describe_threads, settle_threads
from sft.sweep.planning.jobs import Plan
from sft.sweep.planning.options import SweepOptions
from sft.sweep.reporting import report_of
from sft.sweep.run import Sweep
from sft.sweep.screen.describe import counted, describe, describe_duplicates
from sft.sweep.screen.display import Display
from sft.sweep.screen.progress import duration

SECONDS_TO_START = 60.0  # enough for another sweep to plan ten thousand experiments
_STOPPED = {
    129: "Terminal closed (SIGHUP)",
    130: "Interrupted (Ctrl-C)",
    138: "Saved and stopped (SIGUSR1)",
    140: "Saved and stopped (SIGUSR2)",
    143: "Terminated (SIGTERM)",
}


def run(plan: Plan, chosen: Sequence[Experiment], results: Path, options: SweepOptions, quiet: bool = False) -> int:
    """Run a sweep, write and print the comparison, and return the exit code.

    Raises:
        UserError: the results folder cannot be written.
    """
    console = Console(soft_wrap=True, highlight=False)
    store = ResultStore(results, options.stale_after)
    store.check_writable()
    damaged_before = _quarantined(store)
    with _start_lock(store):
        threads = settle_threads(plan, store, options.threads, len(options.slots))
        options = replace(options, threads=threads.number)
        sweep = Sweep(plan, chosen, store, options)
        sweep.note_plan()
    if not quiet:
        for line in (describe(plan), *describe_duplicates(plan)):
            _print(console, line)
        for line in describe_threads(threads, len(sweep.done), len(options.slots)) if sweep.to_run else ():
            _print(console, line)
    if not sweep.to_run:
        outcome = SweepOutcome((), sweep.failures_before, tuple(e.name for e in sweep.done))
        summary = f"{len(sweep.done)} of {len(chosen)} done, nothing to run"
    else:
        if sweep.done and not quiet:
            _print(console, f"{len(sweep.done)} of {len(chosen)} already done")
        with Display(len(sweep.to_run), len(options.slots), console, quiet) as display:
            outcome = sweep.run(display)
        if outcome.hurried:
            _print(console, "Interrupted twice: the report was not written. `report` writes it from the finished runs.")
            return outcome.exit_code
        summary = _summary(plan, outcome)
    damaged = sorted(_quarantined(store) - damaged_before)
    _print(console, f"{summary}\n")
    reported = report_of(store, lambda line: _print(console, line))
    if damaged:
        moved = f"{counted(len(damaged), 'damaged result')} moved to {store.root / QUARANTINE}"
        _print(console, f"{moved}, and run again: {some(damaged)}")
    _print(console, f"Runs, with their logs: {store.root / RUNS}")
    for line in _advice(outcome):
        _print(console, line)
    return outcome.exit_code or reported


@contextmanager
def _start_lock(store: ResultStore) -> Iterator[None]:
    """Keep other sweeps in this folder from choosing their threads, so that sweeps that start at once use the same."""
    lock = store.lock("plan", "claim")
    with suppress(UserError):  # without the lock, or if another sweep hangs, both continue; the report names the runs
        lock.acquire(SECONDS_TO_START)
    try:
        yield
    finally:
        lock.release()


def _quarantined(store: ResultStore) -> set[str]:
    """Return the names of the results that are in the quarantine so far."""
    folder = store.root / QUARANTINE
    return {path.stem for path in folder.iterdir()} if folder.is_dir() else set()


def _summary(plan: Plan, outcome: SweepOutcome) -> str:
    parts = [f"{len(outcome.succeeded) + len(outcome.skipped)} done"]
    states = [in_words(failure.state) for failure in outcome.failed]
    parts += [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    if outcome.not_started:
        parts.append(f"{len(outcome.not_started)} not started")
    size = f"{counted(plan.configurations, 'configuration')}, {counted(len(plan.seeds), 'seed')}"
    stopped = f"{_STOPPED.get(outcome.stopped, 'Stopped')}. " if outcome.stopped else ""
    return f"{stopped}{size} · {', '.join(parts)} · {duration(outcome.seconds)}"


def _advice(outcome: SweepOutcome) -> list[str]:
    """Return what to do about unfinished experiments: those that the same command retries, and the others."""
    again = sum(failure.retried for failure in outcome.failed) + len(outcome.not_started)
    kept = sum(not failure.retried for failure in outcome.failed)
    lines = []
    if again:
        lines.append(f"Run the same command again to try the {counted(again, 'experiment')} that failed or did not run")
    if kept:
        experiments = "experiment that failed by itself" if kept == 1 else "experiments that failed by themselves"
        lines.append(f"Add --retry-failed to try the {kept} {experiments} as well")
    return lines


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)
