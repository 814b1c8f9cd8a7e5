"""Which labelled rows are shown in the prompt: drawn in balanced rounds, seeded, never giving the answer away.

For classification a round holds one example of each label, in an order drawn anew for each round; for generation a
round is one example. Fewer rounds of the same seed are the beginning of more (2 examples contain the 1). It sees texts
and labels only; it knows nothing of data sets, prompts or models.

Two ways to choose:
- fixed: the same examples in one order for every row (`choose_fixed`); in training they are held out of the trained
  rows (`hold_out`);
- per row (`rounds_for_rows` once, then `choose_for_row`): drawn from the seed and the row's number, so independent of
  batches and of other rows. A row is never shown to itself, nor is one with the same input text. In training, where the
  pool is the trained rows themselves, all rows see equally many rounds of all labels: otherwise the number of examples
  would give the label away.
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
        texts: the input of each, all its columns together; equal texts count as the same row.
        labels: the label of each; None for generation.
    """

    texts: Sequence[str]
    labels: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != len(self.texts):
            raise ValueError(f"{len(self.texts)} texts but {len(self.labels)} labels")


class _Group(NamedTuple):
    """The rows of one label (all rows, for generation): its name, their indices, how often each text is among them."""

    name: str
    indices: list[int]
    copies: Counter[str]


class Choice(NamedTuple):
    """Indices into the pool, in the order shown: `rounds` rounds of `round_size` examples."""

    indices: list[int]
    rounds: int
    round_size: int


def choose_fixed(
    pool: Pool, count: int, seed: int, labels: Sequence[str] | None = None, exclude: Collection[str] = ()
) -> Choice:
    """Examples shown to every row.

    Args:
        pool: where they come from.
        count: rounds asked for: examples per label for classification, in total for generation.
        seed: of the draw.
        labels: all labels of the task; default those of the pool.
        exclude: texts of rows that will be asked about, which must not be shown with their answer.

    Raises:
        DataError: no example at all for one of the labels.
    """
    groups = _groups(pool, labels)
    excluded = set(exclude).intersection(pool.texts)
    return _draw(pool, groups, _possible(pool, groups, count, excluded), f"{seed}", excluded)


def choose_for_row(
    pool: Pool, rounds: int, seed: int, row: int, text: str, labels: Sequence[str] | None = None
) -> Choice:
    """Examples for one row: rows of the pool with another text.

    Args:
        pool: where they come from.
        rounds: how many, from `rounds_for_rows`; fewer are shown (of every label) where this text takes too many out.
        seed: of the draw.
        row: the row's number in its split.
        text: the row's input.
        labels: all labels of the task; default those of the pool.
    """
    groups = _groups(pool, labels)
    left = min((len(group.indices) - group.copies[text] for group in groups), default=0)
    return _draw(pool, groups, min(rounds, left), f"{seed} {row}", {text})


def rounds_for_rows(pool: Pool, count: int, labels: Sequence[str] | None = None, training: bool = False) -> int:
    """How many rounds every row can be shown, at most `count`; a warning when that is fewer.

    Args:
        pool: where examples come from.
        count: rounds asked for.
        labels: all labels of the task; default those of the pool.
        training: the rows asked about are the pool's own, so each takes itself (and its duplicates) out.

    Raises:
        DataError: not even one round: a missing label would give the answer away.
    """
    groups = _groups(pool, labels)
    if not count or not training:
        return _possible(pool, groups, count, ())
    left = min((len(group.indices) - max(group.copies.values(), default=0) for group in groups), default=0)
    if left < 1:
        what = "two rows" if pool.labels is None else "two rows of every label"
        raise DataError(
            f"training.icl_examples: at least {what} with different texts are needed, so that each row sees "
            "others than itself, of every label alike; raise dataset.shots or set training.icl_examples to 0"
        )
    return _fewer(pool, count, left)


def hold_out(pool: Pool, shown: Sequence[int], labels: Sequence[str] | None = None) -> list[int]:
    """Indices of the pool left to train on when those `shown` as fixed examples (and rows of equal text) are not.

    Raises:
        DataError: a label (or everything) would be left without a row to train on.
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
    places: dict[str, list[int]] = {name: [] for name in names or sorted(set(pool.labels))}
    for index, label in enumerate(pool.labels):
        if label in places:
            places[label].append(index)
    return [_Group(name, group, Counter(pool.texts[index] for index in group)) for name, group in places.items()]


def _groups(pool: Pool, labels: Sequence[str] | None) -> list[_Group]:
    """The pool by label, in the order of `labels`; one group for generation."""
    return _grouped(pool, None if labels is None else tuple(labels))


def _possible(pool: Pool, groups: Sequence[_Group], count: int, exclude: Collection[str]) -> int:
    """Rounds that the groups hold, at most `count`."""
    sizes = {group.name: len(group.indices) - sum(group.copies[text] for text in exclude) for group in groups}
    if count and (empty := [name for name, size in sizes.items() if not size]):
        what = "" if pool.labels is None else f" of {', '.join(map(repr, empty))}"
        if any(group.indices for group in groups if group.name in empty):
            raise DataError(
                f"icl_examples is {count}, but every row{what} has the text of an evaluated row, so that showing it "
                "would give the answer away; add labelled rows"
            )
        raise DataError(f"icl_examples is {count}, but there is no row{what} to show as an example; add labelled rows")
    return _fewer(pool, count, min(sizes.values(), default=0))


def _fewer(pool: Pool, count: int, possible: int) -> int:
    if possible < count:
        asked = f"asks for {count} in all" if pool.labels is None else f"is {count}"
        of_each = "" if pool.labels is None else " of each label"
        logger.warning(f"icl_examples {asked}, but the data allows {possible}{of_each}")
    return min(count, possible)


def _draw(pool: Pool, groups: Sequence[_Group], rounds: int, seed: str, exclude: Collection[str]) -> Choice:
    """`rounds` rounds of one row of each group. The order within a group depends on the seed and that group alone."""
    columns = []
    for group in groups:
        order = (group.indices[place] for place in _shuffled(len(group.indices), f"{seed} {group.name}"))
        columns.append(list(islice((index for index in order if pool.texts[index] not in exclude), rounds)))
    indices: list[int] = []
    for number, members in enumerate(zip(*columns, strict=True)):
        shown = list(members)
        random.Random(f"{seed} round {number}").shuffle(shown)  # noqa: S311 (nothing secret)
        indices += shown
    return Choice(indices, rounds, len(columns))


def _shuffled(size: int, seed: str) -> Iterator[int]:
    """0 to size - 1 in a seeded order, drawn as far as is asked for: a long pool costs no more than a short one."""
    source = random.Random(seed)  # noqa: S311
    moved: dict[int, int] = {}
    for place in range(size):
        other = source.randrange(place, size)
        yield moved.get(other, other)
        moved[other] = moved.get(place, place)
