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
from sft.sweep.describe import describe, describe_duplicates
from sft.sweep.display import Display, duration
from sft.sweep.jobs import Plan
from sft.sweep.outcome import SweepOutcome
from sft.sweep.run import Sweep, SweepOptions, write_plan


def run(plan: Plan, chosen: Sequence[Experiment], results: Path, options: SweepOptions) -> int:
    """Run a sweep, write and print the comparison; the exit code."""
    console = Console(soft_wrap=True, highlight=False)
    store = ResultStore(results)
    sweep = Sweep(plan, chosen, store, options)
    _say(console, describe(plan))
    for line in describe_duplicates(plan):
        _say(console, line)
    if not sweep.to_run:
        write_plan(plan, store)
        outcome = SweepOutcome((), sweep.failures_before, tuple(e.name for e in sweep.done))
        _say(console, f"{len(sweep.done)} of {len(chosen)} done, nothing to run")
    else:
        if sweep.done:
            _say(console, f"{len(sweep.done)} of {len(chosen)} already done")
        with Display(len(sweep.to_run), options.jobs, console) as display:
            outcome = sweep.run(display)
        _say(console, _summary(plan, outcome))
    _print_report(console, store)
    if outcome.failed or outcome.not_started:
        _say(console, _advice(outcome))
    _say(console, str(store.root / "aggregated_results.json"))
    return outcome.exit_code


def _print_report(console: Console, store: ResultStore) -> None:
    comparison = compare(store)
    files = write_report(store, comparison)
    _say(console, "")
    _say(console, render_text(comparison))
    _say(console, "")
    _say(console, f"Report: {files.markdown}")


def _summary(plan: Plan, outcome: SweepOutcome) -> str:
    parts = [f"{len(outcome.succeeded) + len(outcome.skipped)} done"]
    states = [failure.state for failure in outcome.failed]
    parts += [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    if outcome.not_started:
        parts.append(f"{len(outcome.not_started)} not started")
    seeds = f"{len(plan.seeds)} seed{'s' if len(plan.seeds) > 1 else ''}"
    return f"{plan.configurations} configurations, {seeds} · {', '.join(parts)} · {duration(outcome.seconds)}"


def _advice(outcome: SweepOutcome) -> str:
    number = len(outcome.failed) + len(outcome.not_started)
    these = "this one" if number == 1 else f"these {number}"
    return f"Run the same command again to try just {these}; add --retry-failed for those that failed by themselves"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)
