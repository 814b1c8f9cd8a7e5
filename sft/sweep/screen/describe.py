"""Describe a plan: the number of experiments, what varies, what is done. Fast, for `validate` and `--dry-run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sft.config.experiment import Experiment
from sft.errors import UserError
from sft.log import plain, some
from sft.results.store import ResultStore
from sft.sweep.planning.jobs import Plan, run_status
from sft.sweep.processes import most_halvings

LONGEST_VARYING = 1000


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """Parse seeds such as `13,14,15`.

    Raises:
        UserError: the text has another form.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(map(_is_seed, parts)):
        raise UserError(
            f'--seeds: expected integers from 0 to 4294967295, separated by commas, such as 13,14,15, got "{text}"'
        )
    return tuple(dict.fromkeys(int(part) for part in parts))


def _is_seed(text: str) -> bool:
    """Return whether the text is an integer below 2^32, the limit of generators. `isdigit` would also accept `²`."""
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 2**32


def describe(plan: Plan) -> str:
    """Return the number of experiments and what varies."""
    number = len(plan.experiments)
    if number == 1:
        return "1 experiment."
    seeds = f", {len(plan.seeds)} seeds" if len(plan.seeds) > 1 else ""
    text = f"{counted(plan.configurations, 'configuration')}{seeds}: {number} experiments"
    if len(plan.seeds) > 1 and any(not e.is_random for e in plan.experiments):
        text += " (zero-shot without examples is deterministic, so it runs once)"
    if varying := plan.varying():
        text += f". Varying: {plain(varying if len(varying) <= LONGEST_VARYING else varying[:LONGEST_VARYING] + ' …')}"
    return text


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 seed`, `3 seeds`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def describe_names(plan: Plan, most: int = 24) -> list[str]:
    """Return the names of the experiments as lines, at most `most`; none for a single experiment."""
    names = [f"  {plain(experiment.name)}" for experiment in plan.experiments]
    if len(names) < 2:
        return []
    more = len(names) - most
    return names if more <= 0 else [*names[:most], f"  … and {more} more (run-experiments --dry-run lists all)"]


def describe_duplicates(plan: Plan) -> list[str]:
    """Return a line for each experiment that duplicates an earlier one."""
    return [f'"{plain(name)}" is the same as "{plain(first)}" and runs once' for name, first in plan.duplicates]


def describe_unchecked(plan: Plan) -> list[str]:
    """Return a line for each part of the configs that can only be checked with the data."""
    evaluated = (e for e in plan.experiments if e.endpoint in ("evaluate", "run-experiment"))
    if any(experiment.config.evaluation.lm_eval for experiment in evaluated):
        return ["The tasks of evaluation.lm_eval were not checked; --data checks them."]
    return []


def count_done(plan: Plan, results: Path) -> int:
    """Return the number of experiments of a plan with a valid result."""
    store = ResultStore(results)
    return sum(store.folder(e.id, e.slug).is_done() for e in plan.experiments)


def describe_dry_run(
    plan: Plan, chosen: Sequence[Experiment], results: Path, retry_failed: bool, oom_retry: bool = True
) -> str:
    """Return every chosen experiment with its status."""
    store = ResultStore(results)
    lines = [describe(plan), *describe_duplicates(plan)]
    for experiment in chosen:
        folder = store.folder(experiment.id, experiment.slug)
        status = run_status(folder, retry_failed, most_halvings(experiment.config) if oom_retry else 0)
        note = " (add --retry-failed to run it again)" if status == "failed before" else ""
        lines.append(f"{status:<14} {plain(experiment.name)}  {folder.path.name}{note}")
    return "\n".join(lines)


def describe_problems(plan: Plan, problems: Mapping[str, str]) -> list[str]:
    """Return each problem once, with its experiments if the plan has several.

    Args:
        plan: the experiments.
        problems: problem by the experiment's id.
    """
    names_by_problem: dict[str, list[str]] = {}
    for experiment in plan.experiments:
        if (problem := problems.get(experiment.id)) is not None:
            names_by_problem.setdefault(problem, []).append(experiment.name)
    several = len(plan.experiments) > 1
    return [f"{problem} ({some(names)})" if several else problem for problem, names in names_by_problem.items()]
