"""Copies of a run: copied, renamed or linked folders, or the same run in several results folders. Each id counts once.

Two folders hold the same run if they have the same id, which stands for the experiment. Their content should be equal.
If it is not (other last digits on another machine, a replaced file), the report shows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sft.config.experiment import Experiment
from sft.errors import UserError
from sft.io import canonical_json
from sft.report.metrics import numbers
from sft.report.read.runs import Run
from sft.results.schema import RunResult
from sft.results.store import ResultStore


class Copy(NamedTuple):
    """A finished run with a copy in another folder.

    Args:
        name, id: name and id of the run.
        counted: folder whose result counts.
        left_out: folder whose result does not count.
        differences: metrics that differ: name, counted value, other value (None if missing).
        same: whether both folders hold the same results.
    """

    name: str
    id: str
    counted: Path
    left_out: Path
    differences: tuple[tuple[str, float | None, float | None], ...] = ()
    same: bool = True


def distinct(stores: Sequence[ResultStore]) -> list[ResultStore]:
    """Return the results folders without duplicates, resolving paths."""
    return list({store.root.resolve(): store for store in reversed(stores)}.values())[::-1]


class _NumberedRun(NamedTuple):
    """A run, its number among all runs, and the number of its results folder."""

    number: int
    store: int
    run: Run


def _rank(one: _NumberedRun) -> tuple[bool, int, bool, bool, int]:
    run, path = one.run, one.run.folder.path
    named = path.name == f"{Experiment(run.name, run.config, run.seed).slug}-{run.id}"
    return run.result is None, one.store, not named, path.is_symlink(), one.number


def each_once(runs_of_stores: Sequence[Sequence[Run]]) -> list[Run]:
    """Return the runs of several results folders in order, each id once.

    Finished runs take precedence, then the order of the results folders, then a folder with its original name, then a
    folder before a link.
    """
    by_id: dict[str, list[_NumberedRun]] = {}
    for number, (store, run) in enumerate((store, run) for store, here in enumerate(runs_of_stores) for run in here):
        by_id.setdefault(run.id, []).append(_NumberedRun(number, store, run))
    kept = (same_id[0] if len(same_id) == 1 else min(same_id, key=_rank) for same_id in by_id.values())
    return [one.run for one in sorted(kept, key=lambda one: one.number)]


def copies(stores: Sequence[ResultStore], runs: Sequence[Run]) -> Iterator[Copy]:
    """Yield the other folders with a valid result of the runs."""
    counted = {run.id: run for run in runs if run.result is not None}
    for store in stores:
        for folder in store.folders():
            run = counted.get(folder.id)
            if run is None or folder.path == run.folder.path or folder.path.resolve() == run.folder.path.resolve():
                continue
            try:
                result = folder.result()
            except UserError:  # not readable now: not a copy
                continue
            if result is not None:
                yield _copy(run, folder.path, result)


def _copy(run: Run, other: Path, result: RunResult) -> Copy:
    mine = json.loads(run.result.record)["results"] if run.result is not None else {}
    same = canonical_json(mine) == canonical_json(result.results)
    first, second = numbers(mine), numbers(result.results)
    names = () if same else dict.fromkeys([*first, *second])
    differences = ((key, first.get(key), second.get(key)) for key in names if first.get(key) != second.get(key))
    return Copy(run.name, run.id, run.folder.path, other, tuple(differences), same)
