"""Which labelled rows the evaluated rows of an experiment are shown, as row numbers of the train split.

Puts the task's rows into the terms of `sft.prompting.selection`: texts and labels. It knows no prompts and no limits.
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
    """The examples of the rows that are evaluated.

    Args:
        experiment: its config and seed.
        task: its opened data.

    Raises:
        UserError: `icl_selection` names nothing.
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
        """Whether each row is shown its own; else all are shown the same."""
        return self._inference.random_icl or self.selection.by_row

    @cached_property
    def same(self) -> tuple[int, ...]:
        """Those that all evaluated rows are shown; never a text of any evaluated split.

        Raises:
            DataError: there is no row to show.
        """
        if not self._inference.icl_examples:
            return ()
        (chosen,) = self._chosen(list(self._task.evaluated.values()), by_row=False)
        return chosen

    def own(self, evaluated: LabelledRows) -> list[tuple[int, ...]]:
        """For each evaluated row its own; never its own text.

        Raises:
            DataError: there is no row to show.
        """
        if not self._inference.icl_examples:
            return [()] * len(evaluated)
        return self._chosen([evaluated], by_row=True)

    def inputs(self, rows: LabelledRows) -> list[dict[str, str]]:
        """The input columns of each row."""
        return rows.inputs(self._columns)

    def pool(self, train: LabelledRows, rows: Sequence[int]) -> Pool:
        """Rows of the train split that examples are drawn from."""
        chosen = train.select(list(rows))
        return Pool(self.texts(chosen), chosen.answers if self._task.labels is not None else None)

    def _chosen(self, evaluated: Sequence[LabelledRows], by_row: bool) -> list[tuple[int, ...]]:
        pool, places = self._pool
        asked = tuple(text for rows in evaluated for text in self.texts(rows))
        wanted = Wanted(pool, asked, self._inference.icl_examples, self._task.labels, self._seed, by_row)
        return [tuple(places[index] for index in one) for one in choose_examples(self.selection, wanted)]

    @cached_property
    def _pool(self) -> tuple[Pool, Sequence[int]]:
        """What examples are chosen from, and the row of the train split that each of its rows is."""
        train, given = self._task.train, self._inference.icl_pool
        if train is None:
            raise DataError("inference.icl_examples: the data has no train split to draw examples from")
        from_shots = given == "shots" or (given is None and len(self._task.shots))
        places = self._task.shots.indices if from_shots else self._left(len(train))
        return self.pool(train, places), places

    def _left(self, rows: int) -> Sequence[int]:
        dropped = self._task.dropped
        return [row for row in range(rows) if row not in dropped] if dropped else range(rows)

    def texts(self, rows: LabelledRows) -> list[str]:
        """The input of each row, all its columns together: what makes two rows the same."""
        return list(map(same_text, rows.joined(self._columns)))
