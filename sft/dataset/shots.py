"""Few-shot sampling: balanced, without replacement, seeded, nested. Knows only answers, not rows or files.

Nested: for one seed, the 8-shot set contains the 4-shot set, because each label's rows are put into one seeded order of
which the first k are taken. Python's own generator, seeded by text, gives the same order on every machine and version.
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
MOST_LISTED = 8  # labels that a sentence names


@dataclass(frozen=True)
class Shots:
    """Which rows of the train split are the shots.

    Args:
        indices: row numbers in the train split, in rounds of one per label.
        per_label: how many there are of each label, empty for generation.
        requested: what the config asked for.
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
    """Draw `count` rows per label (`labels` given) or in total (`labels` None), or all of them.

    Fewer rows than asked: what is there is taken, with a warning.

    Args:
        answers: each train row's answer, N texts.
        labels: the labels of a classification, else None.
        count: rows per label or in total; `"all"`: every row, in a seeded order.
        seed: of the draw.
        without: rows that are left out; the order of the others stays.
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
    """Draw `count` rows that have each label, or all rows. A row that has several counts for each of them.

    So there are at most `count` times the labels, and of a label that often stands beside others more than `count`.
    Rows without labels are among `"all"` only.

    Args:
        sets: each train row's labels.
        labels: all of them.
        count: rows per label.
        seed: of the draw.
        without: rows that are left out; the order of the others stays.
    """
    groups = {label: [index for index, those in enumerate(sets) if label in those] for label in labels}
    if count == "all":
        groups[""] = [index for index, those in enumerate(sets) if not those]
    rows = tuple(dict.fromkeys(_in_rounds(list(_chosen(groups, list(groups), count, seed, without).values()))))
    return Shots(rows, {label: sum(label in sets[row] for row in rows) for label in labels}, count)


def last_shots(shots: Sequence[int], kinds: Sequence[str], size: int | float) -> tuple[int, ...]:
    """Of the shots those that are to be evaluated by: the last of each kind, so that the others are a smaller set's.

    Args:
        shots: row numbers, in rounds.
        kinds: the label of each shot; all alike where there are none.
        size: how many of each kind; or a share, of which at least one shot comes.

    Raises:
        DataError: of some kind none would be left.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, kind in zip(shots, kinds, strict=True):
        groups[kind].append(row)
    held: set[int] = set()
    for kind, rows in groups.items():
        count = size if isinstance(size, int) else max(1, round(size * len(rows)))
        if count >= len(rows):
            of = f' of the label "{kind}"' if kind else ""
            raise DataError(f"training.validation_size {size} leaves none of the {len(rows)} shots{of} to train on")
        held.update(rows[len(rows) - count :])
    return tuple(row for row in shots if row in held)


def _chosen(
    groups: Mapping[str, Sequence[int]],
    names: Sequence[str],
    count: int | Literal["all"],
    seed: int,
    without: Collection[int],
) -> dict[str, list[int]]:
    """Of each group `count` rows, or all, in a seeded order."""
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
    """One of each label, then the next of each label, …: any beginning of the list is nearly balanced."""
    longest = max((len(column) for column in columns), default=0)
    return [column[turn] for turn in range(longest) for column in columns if turn < len(column)]


def describe_shortfall(there: Mapping[str, int], count: int) -> str | None:
    """Say in one sentence which labels have fewer rows than the shots asked for; None where all have enough.

    Args:
        there: rows of the train split by label; under the empty name where there are no labels.
        count: the shots asked for.
    """
    short = [f'{rows} of "{name}"' if name else str(rows) for name, rows in there.items() if rows < count]
    if not short:
        return None
    more = f" and fewer than {count} of {len(short) - MOST_LISTED} more labels" if len(short) > MOST_LISTED else ""
    return (
        f"dataset.shots asks for {count}, and the train split has {', '.join(short[:MOST_LISTED])}{more}: "
        "all of these are used"
    )
