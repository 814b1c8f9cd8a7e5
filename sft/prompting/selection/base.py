"""What a way to choose in-context examples is: a function of a pool and the rows asked about.

It sees texts and labels only; it knows nothing of data sets, prompts or models. A user's own is such a function, named
in a config as `"my_module:my_function"`:

    def longest(wanted: Wanted) -> list[list[int]]:
        order = sorted(range(len(wanted.pool.texts)), key=lambda index: len(wanted.pool.texts[index]))
        return [[i for i in order if wanted.pool.texts[i] != text][-wanted.total:] for text in wanted.asked]

One that wants other manners than those of the defaults of `Selection` names a `Selection` in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sft.prompting.examples import Pool


@dataclass(frozen=True, eq=False)
class Wanted:
    """Which examples are asked for.

    Attributes:
        pool: labelled rows that they come from, the train split or the shots.
        asked: the inputs of the rows that will see them, in the order of their split.
        count: `icl_examples`: per label for classification, in total for generation.
        labels: all labels of the task; None for generation.
        seed: of anything drawn.
        per_row: each row is shown its own examples; else all are shown the same.
    """

    pool: Pool
    asked: tuple[str, ...]
    count: int
    labels: tuple[str, ...] | None
    seed: int
    per_row: bool = True

    @property
    def total(self) -> int:
        """Examples in one prompt: `count`, times the labels for classification."""
        return self.count * len(self.labels or ("",))


class Choose(Protocol):
    """Indices into the pool, in the order shown: a list for each row asked about, or a single one for all of them.

    A row with the same text as one asked about must not be shown to it (to any, where all are shown the same), nor a
    row twice in a list; both are checked. Fewer than asked for may be given.
    """

    def __call__(self, wanted: Wanted, /) -> Sequence[Sequence[int]]: ...


@dataclass(frozen=True)
class Selection:
    """A way to choose, and what becomes of its examples when a prompt is too long.

    Attributes:
        choose: the function.
        by_row: always chooses for each row; else only where `random_icl` says so.
        whole_rounds: its examples go together in rounds of one of each label; else one by one.
        last_stay: the first shown are the first to go, since the last is the nearest; else the last go first, so that
            what is left is what fewer examples would have been.
    """

    choose: Choose
    by_row: bool = True
    whole_rounds: bool = False
    last_stay: bool = True
