"""What `run-experiments` does: run the sweep, write the comparison, say what happened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from sft.config.experiment import Experiment
from sft.report.rows import compare
from sft.report.text import render_text
from sft.report.write import write_report
from sft.results.store import ResultStore
from sft.sweep.describe import counted, describe, describe_duplicates
from sft.sweep.display import Display, duration
from sft.sweep.jobs import Plan
from sft.sweep.outcome import SweepOutcome
from sft.sweep.run import Sweep, SweepOptions, write_plan

_STOPPED = {129: "Hung up (SIGHUP)", 130: "Interrupted (Ctrl-C)", 143: "Terminated (SIGTERM)"}


def run(plan: Plan, chosen: Sequence[Experiment], results: Path, options: SweepOptions) -> int:
    """Run a sweep, write and print the comparison; the exit code.

    Raises:
        UserError: the results folder cannot be written.
    """
    console = Console(soft_wrap=True, highlight=False)
    store = ResultStore(results)
    store.check_writable()
    sweep = Sweep(plan, chosen, store, options)
    _say(console, describe(plan))
    for line in describe_duplicates(plan):
        _say(console, line)
    if not sweep.to_run:
        write_plan(plan, store)
        outcome = SweepOutcome((), sweep.failures_before, tuple(e.name for e in sweep.done))
        summary = f"{len(sweep.done)} of {len(chosen)} done, nothing to run"
    else:
        if sweep.done:
            _say(console, f"{len(sweep.done)} of {len(chosen)} already done")
        with Display(len(sweep.to_run), options.jobs, console) as display:
            outcome = sweep.run(display)
        summary = _summary(plan, outcome)
    comparison = compare(store)
    files = write_report(store, comparison)
    _say(console, summary)
    _say(console, f"\n{render_text(comparison)}\n\nReport: {files.markdown}")
    for line in _advice(outcome):
        _say(console, line)
    _say(console, str(files.json))
    return outcome.exit_code


def _summary(plan: Plan, outcome: SweepOutcome) -> str:
    parts = [f"{len(outcome.succeeded) + len(outcome.skipped)} done"]
    states = [failure.state for failure in outcome.failed]
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
