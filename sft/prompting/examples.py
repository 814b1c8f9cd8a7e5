"""In-context examples: drawn in balanced rounds, seeded, without leaking the row's answer.

For classification, a round is one example of each label, in a new order for each round. For generation, a round is one
example. Fewer rounds are a prefix of more rounds with the same seed. This module uses only texts and labels, no data
sets, prompts or models.

Two ways to choose:
- fixed: the same examples in the same order for every row (`choose_fixed`). In training, they are held out of the
  trained rows (`hold_out`).
- per row (`rounds_for_rows` once, then `choose_for_row`): drawn from the seed and the row's number, so independent of
  batches and of other rows. A row's examples never hold the row itself or a row with the same input text. In training,
  the pool is the trained rows, and all rows get the same number of rounds with all labels: otherwise the number of
  examples would leak the label.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from sft.errors import DataError
from sft.log import get_logger

logger = get_logger(__name__)


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows that examples are drawn from.

    Attributes:
        texts: input of each row, all columns joined; rows with equal texts are duplicates.
        labels: label of each row; None for generation.
    """

    texts: Sequence[str]
    labels: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != len(self.texts):
            raise ValueError(
                f"expected a label for each text, got {len(self.texts)} texts and {len(self.labels)} labels"
            )


class _Group(NamedTuple):
    """The rows of one label (all rows for generation): the label, their indices, the count of each text."""

    name: str
    indices: list[int]
    copies: Counter[str]


class Choice(NamedTuple):
    """Indices into the pool, in the order of the prompt: `rounds` rounds of `round_size` examples."""

    indices: list[int]
    rounds: int
    round_size: int


def choose_fixed(
    pool: Pool, count: int, seed: int, labels: Sequence[str] | None = None, exclude: Collection[str] = ()
) -> Choice:
    """Choose the examples that every row is shown.

    Args:
        pool: rows to draw from.
        count: number of rounds: examples per label for classification, in total for generation.
        seed: seed of the draw.
        labels: all labels of the task; by default the labels of the pool.
        exclude: texts of the evaluated rows, which must not be shown with their answer.

    Raises:
        DataError: a label has no example.
    """
    groups = _groups(pool, labels)
    excluded = set(exclude).intersection(pool.texts)
    return _draw(pool, groups, _possible(pool, groups, count, excluded), f"{seed}", excluded)


def choose_for_row(
    pool: Pool, rounds: int, seed: int, row: int, text: str, labels: Sequence[str] | None = None
) -> Choice:
    """Choose the examples of one row: rows of the pool with another text.

    Args:
        pool: rows to draw from.
        rounds: number of rounds, from `rounds_for_rows`; fewer if too many rows of a label have this text.
        seed: seed of the draw.
        row: the row's number in its split.
        text: the row's input.
        labels: all labels of the task; by default the labels of the pool.
    """
    groups = _groups(pool, labels)
    left = min((len(group.indices) - group.copies[text] for group in groups), default=0)
    return _draw(pool, groups, min(rounds, left), f"{seed} {row}", {text})


def rounds_for_rows(pool: Pool, count: int, labels: Sequence[str] | None = None, training: bool = False) -> int:
    """Return the number of rounds that every row can be shown, at most `count`; warn if it is less than `count`.

    Args:
        pool: rows to draw from.
        count: requested rounds.
        labels: all labels of the task; by default the labels of the pool.
        training: whether the examples are for the pool's own rows, so that each row and its duplicates are excluded.

    Raises:
        DataError: not even one round: a missing label would leak the answer.
    """
    groups = _groups(pool, labels)
    if not count or not training:
        return _possible(pool, groups, count, ())
    left = min((len(group.indices) - max(group.copies.values(), default=0) for group in groups), default=0)
    if left < 1:
        needed = "two rows" if pool.labels is None else "two rows of every label"
        raise DataError(
            f"training.icl_examples: expected at least {needed} with different texts, so that each row is shown other "
            "rows of every label; raise dataset.shots or set training.icl_examples to 0"
        )
    return _fewer(pool, count, left)


def hold_out(pool: Pool, shown: Sequence[int], labels: Sequence[str] | None = None) -> list[int]:
    """Return the indices of the pool to train on: without the fixed examples `shown` and rows with equal texts.

    Raises:
        DataError: no row is left to train on, of a label or at all.
    """
    seen = {pool.texts[index] for index in shown}
    left = {group.name: [i for i in group.indices if pool.texts[i] not in seen] for group in _groups(pool, labels)}
    if empty := [name for name, group in left.items() if not group]:
        of_labels = "" if pool.labels is None else f" of {', '.join(map(repr, empty))}"
        raise DataError(
            f"training.icl_examples: the in-context examples are held out of training, and no row{of_labels} is "
            "left to train on; raise dataset.shots, lower training.icl_examples, or set training.random_icl"
        )
    return sorted(index for group in left.values() for index in group)


@lru_cache(maxsize=8)
def _grouped(pool: Pool, names: tuple[str, ...] | None) -> list[_Group]:
    if pool.labels is None:
        return [_Group("", list(range(len(pool.texts))), Counter(pool.texts))]
    indices: dict[str, list[int]] = {name: [] for name in names or sorted(set(pool.labels))}
    for index, label in enumerate(pool.labels):
        if label in indices:
            indices[label].append(index)
    return [_Group(name, group, Counter(pool.texts[index] for index in group)) for name, group in indices.items()]


def _groups(pool: Pool, labels: Sequence[str] | None) -> list[_Group]:
    """Return the pool by label, in the order of `labels`; one group for generation."""
    return _grouped(pool, None if labels is None else tuple(labels))


def _possible(pool: Pool, groups: Sequence[_Group], count: int, exclude: Collection[str]) -> int:
    """Return the number of rounds that the groups hold, at most `count`."""
    sizes = {group.name: len(group.indices) - sum(group.copies[text] for text in exclude) for group in groups}
    if count and (empty := [name for name, size in sizes.items() if not size]):
        of_labels = "" if pool.labels is None else f" of {', '.join(map(repr, empty))}"
        if any(group.indices for group in groups if group.name in empty):
            raise DataError(
                f"icl_examples is {count}, but every row{of_labels} has the text of an evaluated row, so showing it "
                "would leak the answer; add labelled rows"
            )
        raise DataError(
            f"icl_examples is {count}, but there is no row{of_labels} to show as an example; add labelled rows"
        )
    return _fewer(pool, count, min(sizes.values(), default=0))


def _fewer(pool: Pool, count: int, possible: int) -> int:
    if possible < count:
        requested = f"asks for {count} in all" if pool.labels is None else f"is {count}"
        of_each = "" if pool.labels is None else " of each label"
        logger.warning(f"icl_examples {requested}, but the data allows {possible}{of_each}")
    return min(count, possible)


def _draw(pool: Pool, groups: Sequence[_Group], rounds: int, seed: str, exclude: Collection[str]) -> Choice:
    """Draw `rounds` rounds of one row per group. The order within a group depends only on the seed and the group."""
    columns = []
    for group in groups:
        order = (group.indices[index] for index in _shuffled(len(group.indices), f"{seed} {group.name}"))
        columns.append(list(islice((index for index in order if pool.texts[index] not in exclude), rounds)))
    indices: list[int] = []
    for number, members in enumerate(zip(*columns, strict=True)):
        shown = list(members)
        random.Random(f"{seed} round {number}").shuffle(shown)  # noqa: S311 (nothing secret)
        indices += shown
    return Choice(indices, rounds, len(columns))


def _shuffled(size: int, seed: str) -> Iterator[int]:
    """Yield 0 to size - 1 in a seeded order, drawn lazily: a long pool costs no more than a short one."""
    source = random.Random(seed)  # noqa: S311
    moved: dict[int, int] = {}
    for index in range(size):
        other = source.randrange(index, size)
        yield moved.get(other, other)
        moved[other] = moved.get(index, index)
