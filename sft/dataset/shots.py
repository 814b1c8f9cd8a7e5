"""Few-shot sampling: balanced, without replacement, seeded, nested. Knows only answers, not rows or files.

Nested: for one seed, the 8-shot set contains the 4-shot set, because each label's rows are put into one seeded order of
which the first k are taken. Python's own generator, seeded by text, gives the same order on every machine and version.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sft.log import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class Shots:
    """Which rows of the train split are the shots.

    Args:
        indices: row numbers in the train split, in rounds of one per label.
        per_label: how many there are of each label (classification), else empty.
        requested: what the config asked for.
    """

    indices: tuple[int, ...]
    per_label: dict[str, int]
    requested: int | Literal["all"]

    def __len__(self) -> int:
        return len(self.indices)


def draw_shots(answers: Sequence[str], labels: Sequence[str] | None, count: int | Literal["all"], seed: int) -> Shots:
    """Draw `count` rows per label (`labels` given) or in total (`labels` None), or all of them.

    Fewer rows than asked: what is there is taken, with a warning.

    Args:
        answers: each train row's answer, N texts.
        labels: the labels of a classification, else None.
        count: rows per label or in total; `"all"`: every row, in a seeded order.
        seed: of the draw.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, answer in enumerate(answers):
        groups[answer if labels is not None else ""].append(index)
    names = list(labels) if labels is not None else [""]
    chosen = {name: _seeded_order(groups[name], f"{seed}:{name}") for name in names}
    if count != "all":
        _warn_of_shortfall({name: len(rows) for name, rows in chosen.items()}, count)
        chosen = {name: rows[:count] for name, rows in chosen.items()}
    per_label = {name: len(rows) for name, rows in chosen.items()} if labels is not None else {}
    return Shots(tuple(_in_rounds(list(chosen.values()))), per_label, count)


def _seeded_order(rows: Sequence[int], seed: str) -> list[int]:
    order = list(rows)
    random.Random(seed).shuffle(order)  # noqa: S311
    return order


def _in_rounds(columns: Sequence[Sequence[int]]) -> list[int]:
    """One of each label, then the next of each label, …: any beginning of the list is nearly balanced."""
    longest = max((len(column) for column in columns), default=0)
    return [column[turn] for turn in range(longest) for column in columns if turn < len(column)]


def _warn_of_shortfall(there: dict[str, int], count: int) -> None:
    for name, rows in there.items():
        if rows < count:
            of = f' of the label "{name}"' if name else ""
            log.warning("Asked for %d shots%s, the train split has %d: taking those", count, of, rows)
