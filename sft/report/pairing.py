"""Rows of the table side by side: what each test row is worth under each recipe, the mean over its seeds.

Only recipes that were judged on the very same rows stand in one array. Reads no files, tests nothing.
Shapes: N test rows, R rows of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sft.report.comparison import Comparison, Row
from sft.report.outcomes import Outcomes

Found = Mapping[tuple[str, str], Outcomes]  # by run id and split
Known = Mapping[tuple[str, str], frozenset[str]]  # the metrics that may be made of rows, by the same

_Plan = tuple[str, tuple[int, ...]]  # a metric, and indices of the table's rows
_TOLERANCE = 1e-4  # between a metric made of rows and the one in result.json
_MOST_BYTES = 400 * 2**20  # of the arrays of several metrics at once


@dataclass(frozen=True)
class Paired:
    """A metric of the rows of the table that were judged on the same test rows.

    Args:
        metric: its name.
        indices: of the table's rows, R.
        seeds: how many runs each of these has.
        values_RN: of each test row, the mean over seeds: its own value, or its pseudo-value.
        shares: whether each run has but 0 and 1.
    """

    metric: str
    indices: tuple[int, ...]
    seeds: tuple[int, ...]
    values_RN: NDArray[np.float32]
    shares: bool


def known_metrics(comparison: Comparison, outcomes: Found) -> tuple[dict[tuple[str, str], frozenset[str]], list[str]]:
    """For each run and split the metrics that its rows give as its result has them; and those that differ, by name."""
    known: dict[tuple[str, str], frozenset[str]] = {}
    differing: list[str] = []
    for run in comparison.runs:
        for split in ("test", "validation"):
            found = outcomes.get((run.id, split))
            if found is None:
                continue
            values, stored = found.values(), run.metrics(split)
            same = {key for key, value in values.items() if abs(stored.get(key, np.inf) - value) <= _TOLERANCE}
            known[run.id, split] = frozenset(same)
            differing += [key for key in values if key in stored and key not in same]
    return known, list(dict.fromkeys(differing))


def paired_rows(comparison: Comparison, outcomes: Found, known: Known, split: str, whole: bool) -> Iterator[Paired]:
    """Each metric in turn, once for every set of test rows that two rows of the table share.

    Args:
        comparison: the table.
        outcomes: of its runs.
        known: as `known_metrics` gives them.
        split: `test` or `validation`.
        whole: leave out rows of the table of which runs are missing.
    """
    plans = list(_plans(comparison, outcomes, known, split, whole))
    while plans:
        room, block = _MOST_BYTES, list[_Plan]()
        while plans and (not block or _size(plans[0], outcomes, comparison, split) <= room):
            room -= _size(plans[0], outcomes, comparison, split)
            block.append(plans.pop(0))
        yield from _filled(block, comparison, outcomes, split)


def _plans(comparison: Comparison, outcomes: Found, known: Known, split: str, whole: bool) -> Iterator[_Plan]:
    """Metric and indices of the table's rows."""
    metrics = dict.fromkeys(key for found in known.values() for key in sorted(found))
    for metric in metrics:
        groups: dict[tuple[str, int], list[int]] = {}
        for index, row in enumerate(comparison.rows):
            if whole and not row.is_whole(metric, split):
                continue
            judged_on = _judged_on(row, metric, outcomes, known, split)
            if judged_on is not None:
                groups.setdefault(judged_on, []).append(index)
        yield from ((metric, tuple(indices)) for indices in groups.values() if len(indices) > 1)


def _judged_on(row: Row, metric: str, outcomes: Found, known: Known, split: str) -> tuple[str, int] | None:
    """The rows that all of its runs with that metric were judged on; None where that cannot be told of one."""
    keys = [(run.id, split) for run in row.runs if metric in run.metrics(split)]
    if not keys or not all(metric in known.get(key, ()) and outcomes[key].rows > 1 for key in keys):
        return None
    places = {(outcomes[key].judged_on, outcomes[key].rows) for key in keys}
    return places.pop() if len(places) == 1 else None


def _keys(row: Row, metric: str, split: str) -> list[tuple[str, str]]:
    return [(run.id, split) for run in row.runs if metric in run.metrics(split)]


def _size(plan: _Plan, outcomes: Found, comparison: Comparison, split: str) -> int:
    metric, indices = plan
    return 4 * len(indices) * outcomes[_keys(comparison.rows[indices[0]], metric, split)[0]].rows


def _filled(plans: Sequence[_Plan], comparison: Comparison, outcomes: Found, split: str) -> Iterator[Paired]:
    """The arrays of some metrics, each run's rows taken once for all of them."""
    keys = [[_keys(comparison.rows[index], metric, split) for index in indices] for metric, indices in plans]
    arrays = [np.zeros((len(found), outcomes[found[0][0]].rows), dtype=np.float32) for found in keys]
    places: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for plan, found in enumerate(keys):
        for row, of_row in enumerate(found):
            for key in of_row:
                places.setdefault(key, []).append((plan, row))
    for key, needed in places.items():
        values = outcomes[key].pseudo_values()
        for plan, row in needed:
            arrays[plan][row] += (values[plans[plan][0]] / len(keys[plan][row])).astype(np.float32)
    for (metric, indices), found, array in zip(plans, keys, arrays, strict=True):
        shares = all(metric in outcomes[key].hits for of_row in found for key in of_row)
        yield Paired(metric, indices, tuple(len(of_row) for of_row in found), array, shares)
