"""The protocol of a way to choose in-context examples: a function of a pool and the evaluated rows.

It uses only texts and labels, no data sets, prompts or models. A user's own is such a function, named in a config as
`"my_module:my_function"`:

    def longest(wanted: Wanted) -> list[list[int]]:
        order = sorted(range(len(wanted.pool.texts)), key=lambda index: len(wanted.pool.texts[index]))
        return [[i for i in order if wanted.pool.texts[i] != text][-wanted.total:] for text in wanted.asked]

To change the defaults of `Selection`, name a `Selection` in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sft.prompting.examples import Pool


@dataclass(frozen=True, eq=False)
class Wanted:
    """A request for examples.

    Attributes:
        pool: labelled rows to choose from: the train split or the shots.
        asked: inputs of the evaluated rows, in the order of their split.
        count: `icl_examples`: per label for classification, in total for generation.
        labels: all labels of the task; None for generation.
        seed: seed of random draws.
        per_row: whether each row gets its own examples; else all rows get the same.
    """

    pool: Pool
    asked: tuple[str, ...]
    count: int
    labels: tuple[str, ...] | None
    seed: int
    per_row: bool = True

    @property
    def total(self) -> int:
        """The number of examples in a prompt: `count`, times the number of labels for classification."""
        return self.count * len(self.labels or ("",))


class Choose(Protocol):
    """A function that returns indices into the pool, in the order of the prompt: a list for each row, or one for all.

    A list must not hold a row with the text of its evaluated row (of any evaluated row, if all share the list), nor a
    row twice; both are checked. A list may hold fewer examples than requested.
    """

    def __call__(self, wanted: Wanted, /) -> Sequence[Sequence[int]]: ...


@dataclass(frozen=True)
class Selection:
    """A way to choose examples, and which of them are dropped if a prompt is too long.

    Attributes:
        choose: the function.
        by_row: whether it always chooses for each row; else only with `random_icl`.
        whole_rounds: whether examples are dropped in rounds of one of each label; else one by one.
        last_stay: whether the first examples are dropped first, since the last is the nearest; else the last are
            dropped first, so that the rest equals a choice of fewer examples.
    """

    choose: Choose
    by_row: bool = True
    whole_rounds: bool = False
    last_stay: bool = True
