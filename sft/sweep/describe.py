"""A plan in words: how many experiments, what varies, what is done. Light: `validate` and `--dry-run` need no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sft.config.experiment import Experiment
from sft.errors import UserError
from sft.log import plain, some
from sft.results.store import ResultStore
from sft.sweep.jobs import Plan, standing
from sft.sweep.processes import most_halvings

LONGEST_VARYING = 1000


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """`13,14,15` as numbers.

    Raises:
        UserError: anything else.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(map(_is_seed, parts)):
        raise UserError(f'--seeds "{text}": whole numbers from 0 to 4294967295, separated by commas, such as 13,14,15')
    return tuple(dict.fromkeys(int(part) for part in parts))


def _is_seed(text: str) -> bool:
    """Plain digits (`²` is one to `isdigit`) of a number that generators take: below 2 to the 32nd."""
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 2**32


def describe(plan: Plan) -> str:
    """How many experiments there are, and what varies."""
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
    """`1 seed`, `3 seeds`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def describe_names(plan: Plan, most: int = 24) -> list[str]:
    """The experiments' names, one a line, at most `most`; none for a single one."""
    names = [f"  {plain(experiment.name)}" for experiment in plan.experiments]
    if len(names) < 2:
        return []
    more = len(names) - most
    return names if more <= 0 else [*names[:most], f"  … and {more} more (run-experiments --dry-run lists all)"]


def describe_duplicates(plan: Plan) -> list[str]:
    """One line per experiment that is the same work as an earlier one."""
    return [f'"{plain(name)}" is the same work as "{plain(first)}": it runs once' for name, first in plan.duplicates]


def describe_unchecked(plan: Plan) -> list[str]:
    """What a config names that can be looked up with the data only; a line for each."""
    judged = (one for one in plan.experiments if one.endpoint in ("evaluate", "run-experiment"))
    if any(one.config.evaluation.lm_eval for one in judged):
        return ["The tasks of evaluation.lm_eval were not looked up: --data does that."]
    return []


def count_done(plan: Plan, results: Path) -> int:
    """How many experiments of a plan already have a valid result."""
    store = ResultStore(results)
    return sum(store.folder(e.id, e.slug).is_done() for e in plan.experiments)


def describe_dry_run(
    plan: Plan, chosen: Sequence[Experiment], results: Path, retry_failed: bool, oom_retry: bool = True
) -> str:
    """Every chosen experiment with where it stands."""
    store = ResultStore(results)
    lines = [describe(plan), *describe_duplicates(plan)]
    for experiment in chosen:
        folder = store.folder(experiment.id, experiment.slug)
        where = standing(folder, retry_failed, most_halvings(experiment.config) if oom_retry else 0)
        note = " (add --retry-failed to run it again)" if where == "failed before" else ""
        lines.append(f"{where:<14} {plain(experiment.name)}  {folder.path.name}{note}")
    return "\n".join(lines)


def describe_problems(plan: Plan, problems: Mapping[str, str]) -> list[str]:
    """Each problem once, with the experiments that have it, where there are several.

    Args:
        plan: the experiments.
        problems: what is wrong, by the experiment's id.
    """
    found: dict[str, list[str]] = {}
    for experiment in plan.experiments:
        if (problem := problems.get(experiment.id)) is not None:
            found.setdefault(problem, []).append(experiment.name)
    several = len(plan.experiments) > 1
    return [f"{problem} ({some(names)})" if several else problem for problem, names in found.items()]
