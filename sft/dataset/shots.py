"""Few-shot sampling: balanced, without replacement, seeded, nested. Uses only answers, not rows or files.

Nested: for one seed, the 8-shot set contains the 4-shot set, because each label's rows get one seeded order and the
first k are taken. Python's generator, seeded with a string, gives the same order on every machine and version.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sft.errors import DataError
from sft.log import get_logger

log = get_logger(__name__)
MOST_LISTED = 8  # labels that a message lists


@dataclass(frozen=True)
class Shots:
    """The rows of the train split that are the shots.

    Args:
        indices: row numbers in the train split, in rounds of one per label.
        per_label: number of shots of each label; empty for generation.
        requested: `dataset.shots` of the config.
    """

    indices: tuple[int, ...]
    per_label: dict[str, int]
    requested: int | Literal["all"]

    def __len__(self) -> int:
        return len(self.indices)


def draw_shots(
    answers: Sequence[str],
    labels: Sequence[str] | None,
    count: int | Literal["all"],
    seed: int,
    without: Collection[int] = (),
) -> Shots:
    """Draw `count` rows per label (in total if `labels` is None), or all rows.

    If there are fewer rows than requested, all of them are drawn, with a warning.

    Args:
        answers: the answer of each train row, N strings.
        labels: labels of a classification, else None.
        count: rows per label or in total; `"all"`: every row, in a seeded order.
        seed: seed of the draw.
        without: rows to leave out; the order of the other rows stays.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, answer in enumerate(answers):
        groups[answer if labels is not None else ""].append(index)
    chosen = _chosen(groups, list(labels) if labels is not None else [""], count, seed, without)
    per_label = {name: len(rows) for name, rows in chosen.items()} if labels is not None else {}
    return Shots(tuple(_in_rounds(list(chosen.values()))), per_label, count)


def draw_shots_of_sets(
    sets: Sequence[Collection[str]],
    labels: Sequence[str],
    count: int | Literal["all"],
    seed: int,
    without: Collection[int] = (),
) -> Shots:
    """Draw `count` rows for each label, or all rows. A row with several labels counts for each of them.

    So at most `count` rows per label are drawn in all, and a label that often appears with others may have more than
    `count`. Only `"all"` draws rows without labels.

    Args:
        sets: labels of each train row.
        labels: all labels.
        count: rows per label.
        seed: seed of the draw.
        without: rows to leave out; the order of the other rows stays.
    """
    groups = {label: [index for index, row_labels in enumerate(sets) if label in row_labels] for label in labels}
    if count == "all":
        groups[""] = [index for index, row_labels in enumerate(sets) if not row_labels]
    rows = tuple(dict.fromkeys(_in_rounds(list(_chosen(groups, list(groups), count, seed, without).values()))))
    return Shots(rows, {label: sum(label in sets[row] for row in rows) for label in labels}, count)


def last_shots(shots: Sequence[int], kinds: Sequence[str], size: int | float) -> tuple[int, ...]:
    """Return the validation shots: the last of each label, so that the others equal a smaller set of shots.

    Args:
        shots: row numbers, in rounds.
        kinds: the label of each shot; all equal if there are no labels.
        size: number per label, or a share (at least one shot).

    Raises:
        DataError: a label would have no shot left to train on.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, kind in zip(shots, kinds, strict=True):
        groups[kind].append(row)
    held: set[int] = set()
    for kind, rows in groups.items():
        count = size if isinstance(size, int) else max(1, round(size * len(rows)))
        if count >= len(rows):
            of_label = f' of the label "{kind}"' if kind else ""
            raise DataError(
                f"training.validation_size {size} leaves none of the {len(rows)} shots{of_label} to train on; lower it"
            )
        held.update(rows[len(rows) - count :])
    return tuple(row for row in shots if row in held)


def _chosen(
    groups: Mapping[str, Sequence[int]],
    names: Sequence[str],
    count: int | Literal["all"],
    seed: int,
    without: Collection[int],
) -> dict[str, list[int]]:
    """Return `count` rows of each group, or all, in a seeded order."""
    left_out = frozenset(without)
    orders = {name: _seeded_order(groups.get(name, ()), f"{seed}:{name}") for name in names}
    chosen = {name: [row for row in rows if row not in left_out] for name, rows in orders.items()}
    if count == "all":
        return chosen
    if sentence := describe_shortfall({name: len(rows) for name, rows in chosen.items()}, count):
        log.warning(sentence)
    return {name: rows[:count] for name, rows in chosen.items()}


def _seeded_order(rows: Sequence[int], seed: str) -> list[int]:
    order = list(rows)
    random.Random(seed).shuffle(order)  # noqa: S311
    return order


def _in_rounds(columns: Sequence[Sequence[int]]) -> list[int]:
    """Return the first of each label, then the second of each label, …, so that any prefix is nearly balanced."""
    longest = max((len(column) for column in columns), default=0)
    return [column[turn] for turn in range(longest) for column in columns if turn < len(column)]


def describe_shortfall(available: Mapping[str, int], count: int) -> str | None:
    """Return a sentence on the labels with fewer rows than the requested shots; None if all have enough.

    Args:
        available: rows of the train split by label; under the empty string if there are no labels.
        count: requested shots.
    """
    short = [f'{rows} of "{name}"' if name else str(rows) for name, rows in available.items() if rows < count]
    if not short:
        return None
    more = f" and fewer than {count} of {len(short) - MOST_LISTED} more labels" if len(short) > MOST_LISTED else ""
    return (
        f"dataset.shots asks for {count}, and the train split has {', '.join(short[:MOST_LISTED])}{more}: "
        "all of these are used"
    )
