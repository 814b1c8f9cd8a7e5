"""The threads of a sweep: chosen at its start, kept in its plan, and used again when it is resumed.

The last digits of results depend on the number of threads. A sweep that is resumed with another `--jobs` or on another
machine keeps its number, so that its runs stay comparable.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

from sft.errors import UserError
from sft.results.store import ResultStore
from sft.sweep.planning.jobs import Plan
from sft.threads import default_threads, too_many


class Threads(NamedTuple):
    """The threads of each experiment of a sweep.

    Args:
        number: number of threads used.
        before: number used before; None for a new sweep.
        default: number that a new sweep would use.
    """

    number: int
    before: int | None
    default: int


def settle_threads(plan: Plan, store: ResultStore, requested: int | None, at_a_time: int) -> Threads:
    """Return the threads of a sweep: the requested number, else the number used before, else the default.

    Args:
        plan: plan of the sweep.
        store: its results folder.
        requested: number from the user, or None.
        at_a_time: number of experiments that run at the same time.
    """
    ids = [experiment.id for experiment in plan.experiments]
    before = planned_threads(store, ids) or _recorded_threads(plan, store)
    default = default_threads(max(1, min(at_a_time, len(ids))))
    return Threads(requested or before or default, before, default)


def planned_threads(store: ResultStore, ids: Collection[str]) -> int | None:
    """Return the threads in `plan.json`; None if it has none, or shares no experiment with these ids.

    The plan of another grid in the same folder does not count, as its runs appear in another table.
    """
    record = store.plan_record()
    threads = _count(record.get("threads"))
    if threads is None:
        return None
    wanted = set(ids)
    entries = record["experiments"]
    return threads if any(isinstance(entry, dict) and entry.get("id") in wanted for entry in entries) else None


def _recorded_threads(plan: Plan, store: ResultStore) -> int | None:
    """Return the threads of the first finished run, if the plan was replaced or is of an earlier version."""
    for experiment in plan.experiments:
        with suppress(UserError):
            result = store.folder(experiment.id, experiment.slug).result()
            if result is not None and (threads := _count(result.resources.get("threads"))):
                return threads
    return None


def describe_threads(threads: Threads, done: int, at_a_time: int) -> list[str]:
    """Return a line for the user if the number of threads is unexpected.

    Args:
        threads: threads of the sweep.
        done: number of finished experiments.
        at_a_time: number of experiments that run at the same time.
    """
    number, before = threads.number, threads.before
    if before is not None and number != before:
        if not done:
            return []
        return [
            f"Threads per experiment: {number}, but finished runs used {before}. Figures can differ in the last "
            "digits; the report names the runs"
        ]
    if before is None or number == threads.default:
        return []
    line = f"Threads per experiment: {number}, as at the start of this sweep (change with --threads N)"
    if (processors := too_many(number, at_a_time)) is not None:
        line += f". {at_a_time} at a time share {processors} processor{'s' if processors > 1 else ''}"
    return [line]


def _count(value: object) -> int | None:
    """Return a number of threads from JSON; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
