"""The in-context examples of the evaluated rows, as row numbers of the train split.

Translates the task's rows to the texts and labels that `sft.prompting.selection` uses. It uses no prompts and no
limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from sft.config.experiment import Experiment
from sft.config.sections.inference import InferenceConfig
from sft.dataset.overlap import same_text
from sft.dataset.task import LabelledRows, Task
from sft.errors import DataError
from sft.prompting.examples import Pool
from sft.prompting.selection import Wanted, choose_examples, find_selection


class EvaluationExamples:
    """The in-context examples of the evaluated rows.

    Args:
        experiment: config and seed.
        task: the opened data.

    Raises:
        UserError: `icl_selection` is unknown.
    """

    def __init__(self, experiment: Experiment, task: Task) -> None:
        self._task = task
        self._inference = experiment.config.inference or InferenceConfig()
        self._columns = experiment.config.prompting.input_columns
        self._seed = experiment.seed_of("icl")
        name = self._inference.icl_selection if self._inference.icl_examples else None
        self.selection = find_selection(name or task.type.selection)

    @property
    def by_row(self) -> bool:
        """Whether each row has examples of its own; else all rows have the same."""
        return self._inference.random_icl or self.selection.by_row

    @cached_property
    def same(self) -> tuple[int, ...]:
        """The examples shared by all evaluated rows; none has the text of an evaluated row.

        Raises:
            DataError: there is no row to show.
        """
        if not self._inference.icl_examples:
            return ()
        (chosen,) = self._chosen(list(self._task.evaluated.values()), by_row=False)
        return chosen

    def own(self, evaluated: LabelledRows) -> list[tuple[int, ...]]:
        """Return the examples of each evaluated row; none has the text of the row.

        Raises:
            DataError: there is no row to show.
        """
        if not self._inference.icl_examples:
            return [()] * len(evaluated)
        return self._chosen([evaluated], by_row=True)

    def inputs(self, rows: LabelledRows) -> list[dict[str, str]]:
        """Return the input columns of each row."""
        return rows.inputs(self._columns)

    def pool(self, train: LabelledRows, rows: Sequence[int]) -> Pool:
        """Return rows of the train split as a pool of examples."""
        chosen = train.select(list(rows))
        return Pool(self.texts(chosen), chosen.answers if self._task.labels is not None else None)

    def _chosen(self, evaluated: Sequence[LabelledRows], by_row: bool) -> list[tuple[int, ...]]:
        pool, train_rows = self._pool
        asked = tuple(text for rows in evaluated for text in self.texts(rows))
        wanted = Wanted(pool, asked, self._inference.icl_examples, self._task.labels, self._seed, by_row)
        return [tuple(train_rows[index] for index in indices) for indices in choose_examples(self.selection, wanted)]

    @cached_property
    def _pool(self) -> tuple[Pool, Sequence[int]]:
        """The pool of examples, and the train row of each of its rows."""
        train, pool = self._task.train, self._inference.icl_pool
        if train is None:
            raise DataError(
                "inference.icl_examples: the data has no train split to draw examples from; set dataset.train_split"
            )
        from_shots = pool == "shots" or (pool is None and len(self._task.shots))
        rows = self._task.shots.indices if from_shots else self._not_dropped(len(train))
        return self.pool(train, rows), rows

    def _not_dropped(self, rows: int) -> Sequence[int]:
        dropped = self._task.dropped
        return [row for row in range(rows) if row not in dropped] if dropped else range(rows)

    def texts(self, rows: LabelledRows) -> list[str]:
        """Return the normalised input of each row, all columns joined; duplicate rows have the same text."""
        return list(map(same_text, rows.joined(self._columns)))
