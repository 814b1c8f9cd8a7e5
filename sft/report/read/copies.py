"""The same run in several folders: copied, renamed, linked, or in another results folder too. Each id counts once.

Two folders are of the same run when they have its id, since that stands for the work. What they hold should then be the
same; where it is not (another machine gives other last digits, a file was replaced), the reader has to know.
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
    """A finished run that is in another folder too.

    Args:
        name, id: of the run.
        counted: the folder whose result counts.
        left_out: another one, whose result does not.
        differences: the metrics that differ: name, the counted value, the other one (None: not there).
        same: whether both hold the same results.
    """

    name: str
    id: str
    counted: Path
    left_out: Path
    differences: tuple[tuple[str, float | None, float | None], ...] = ()
    same: bool = True


def distinct(stores: Sequence[ResultStore]) -> list[ResultStore]:
    """The results folders, each once, however often and by whatever path it is named."""
    return list({store.root.resolve(): store for store in reversed(stores)}.values())[::-1]


class _Placed(NamedTuple):
    """A run, its number among all, and that of its results folder."""

    number: int
    store: int
    run: Run


def _rank(one: _Placed) -> tuple[bool, int, bool, bool, int]:
    run, path = one.run, one.run.folder.path
    named = path.name == f"{Experiment(run.name, run.config, run.seed).slug}-{run.id}"
    return run.result is None, one.store, not named, path.is_symlink(), one.number


def each_once(found: Sequence[Sequence[Run]]) -> list[Run]:
    """The runs of several results folders, each id once, in their order.

    A finished one counts before one that is not; then the results folders in their order; then the folder that has the
    name it was made under; then a folder before a link to one.
    """
    by_id: dict[str, list[_Placed]] = {}
    for number, (store, run) in enumerate((store, run) for store, here in enumerate(found) for run in here):
        by_id.setdefault(run.id, []).append(_Placed(number, store, run))
    kept = (those[0] if len(those) == 1 else min(those, key=_rank) for those in by_id.values())
    return [one.run for one in sorted(kept, key=lambda one: one.number)]


def copies(stores: Sequence[ResultStore], runs: Sequence[Run]) -> Iterator[Copy]:
    """The other folders with a valid result of the runs."""
    counted = {run.id: run for run in runs if run.result is not None}
    for store in stores:
        for folder in store.folders():
            run = counted.get(folder.id)
            if run is None or folder.path == run.folder.path or folder.path.resolve() == run.folder.path.resolve():
                continue
            try:
                result = folder.result()
            except UserError:  # it cannot be read now: it counts nowhere
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
