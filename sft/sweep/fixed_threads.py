"""The threads of a sweep: chosen when it begins, kept in its plan, and used again when it is resumed.

Results depend on the number of threads in their last digits. A sweep that is resumed with another `--jobs`, or on
another machine, keeps the number that it began with, so that its runs stay comparable.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

from sft.errors import UserError
from sft.results.store import ResultStore
from sft.sweep.jobs import Plan
from sft.threads import default_threads, too_many


class Threads(NamedTuple):
    """The threads of each experiment of a sweep.

    Args:
        number: how many are used.
        before: how many the sweep used before; None where it begins now.
        default: how many it would use if it began now.
    """

    number: int
    before: int | None
    default: int


def settle_threads(plan: Plan, store: ResultStore, asked: int | None, at_a_time: int) -> Threads:
    """Return the threads of a sweep: those that are asked for, else those of before, else the default.

    Args:
        plan: of the sweep.
        store: its results folder.
        asked: given by the user, or None.
        at_a_time: experiments that run at the same time.
    """
    ids = [experiment.id for experiment in plan.experiments]
    before = planned_threads(store, ids) or _recorded_threads(plan, store)
    default = default_threads(max(1, min(at_a_time, len(ids))))
    return Threads(asked or before or default, before, default)


def planned_threads(store: ResultStore, ids: Collection[str]) -> int | None:
    """Return the threads in `plan.json`; None where it has none, or shares no experiment with these ids.

    The plan of another grid in the same folder binds nobody: its runs are in no table with these.
    """
    record = store.plan_record()
    threads = _count(record.get("threads"))
    if threads is None:
        return None
    wanted = set(ids)
    entries = record["experiments"]
    return threads if any(isinstance(entry, dict) and entry.get("id") in wanted for entry in entries) else None


def _recorded_threads(plan: Plan, store: ResultStore) -> int | None:
    """The threads of the first finished run: of a sweep whose plan was replaced, or is of an earlier version."""
    for experiment in plan.experiments:
        with suppress(UserError):
            result = store.folder(experiment.id, experiment.slug).result()
            if result is not None and (threads := _count(result.resources.get("threads"))):
                return threads
    return None


def describe_threads(threads: Threads, done: int, at_a_time: int) -> list[str]:
    """Return what the user should know: one line where the number is not the one that they would expect.

    Args:
        threads: of the sweep.
        done: how many experiments have finished.
        at_a_time: experiments that run at the same time.
    """
    number, before = threads.number, threads.before
    if before is not None and number != before:
        if not done:
            return []
        return [
            f"Threads for each experiment: {number}, but finished runs used {before}. Figures can differ in the last "
            "digits; the report names the runs"
        ]
    if before is None or number == threads.default:
        return []
    line = f"Threads for each experiment: {number}, as when this sweep began (--threads N changes it)"
    if (processors := too_many(number, at_a_time)) is not None:
        line += f". {at_a_time} at a time share {processors} processor{'s' if processors > 1 else ''}"
    return [line]


def _count(value: object) -> int | None:
    """A number of threads as JSON has it; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
