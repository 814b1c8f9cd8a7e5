"""What `run-experiments` and `validate` say and do, on top of the plan and the sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from sft.config.experiment import Experiment
from sft.errors import UserError
from sft.report.rows import compare
from sft.report.text import render_text
from sft.report.write import write_report
from sft.results.store import ResultStore
from sft.sweep.display import Display, duration
from sft.sweep.jobs import Plan, standing
from sft.sweep.outcome import SweepOutcome
from sft.sweep.run import Sweep, SweepOptions, write_plan


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """`13,14,15` as numbers.

    Raises:
        UserError: anything else.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() for part in parts):
        raise UserError(f'--seeds "{text}": whole numbers from 0, separated by commas, such as 13,14,15')
    return tuple(dict.fromkeys(int(part) for part in parts))


def describe(plan: Plan) -> str:
    """How many experiments there are, and what varies."""
    number = len(plan.experiments)
    if number == 1:
        return "1 experiment."
    seeds = f", {len(plan.seeds)} seeds" if len(plan.seeds) > 1 else ""
    text = f"{plan.configurations} configurations{seeds}: {number} experiments"
    if len(plan.seeds) > 1 and any(not e.is_random for e in plan.experiments):
        text += " (zero-shot without examples has nothing random: one run)"
    if varying := plan.varying():
        text += f". Varying: {varying}"
    return text


def describe_duplicates(plan: Plan) -> list[str]:
    """One line per experiment that is the same work as an earlier one."""
    return [f'"{name}" is the same work as "{first}": it runs once' for name, first in plan.duplicates]


def count_done(plan: Plan, results: Path) -> int:
    """How many experiments of a plan already have a valid result."""
    store = ResultStore(results)
    return sum(store.folder(e.id, e.slug).result() is not None for e in plan.experiments)


def describe_dry_run(plan: Plan, chosen: Sequence[Experiment], results: Path, options: SweepOptions) -> str:
    """Every chosen experiment with where it stands."""
    store = ResultStore(results)
    lines = [describe(plan), *describe_duplicates(plan)]
    for experiment in chosen:
        folder = store.folder(experiment.id, experiment.slug)
        where = standing(folder, options.retry_failed)
        note = " (add --retry-failed to run it again)" if where == "failed before" else ""
        lines.append(f"{where:<14} {experiment.name}  {folder.path.name}{note}")
    return "\n".join(lines)


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
