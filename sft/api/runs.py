"""One run of a results folder: its settings and metrics, and on request its predictions and label scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sft.errors import UserError
from sft.report.metrics import number, title
from sft.report.read.runs import ODD
from sft.report.read.runs import Run as RecordedRun
from sft.results.states import in_words

if TYPE_CHECKING:
    from pandas import DataFrame

    from sft.api.scores import LabelScores
    from sft.report.read.answers import Answers

T = TypeVar("T")
Split = Literal["test", "validation"]
_SCORES = ("sum_logprob", "end_logprob", "first_logprob", "token_count")


class RunFailedError(UserError):
    """A run has no result: says how it ended, and where its log is."""


@dataclass(frozen=True)
class Run:
    """One experiment with one seed, finished or not.

    Files are read when they are asked for, and only where they are those that the run has written.

    Args:
        recorded: what a report reads of it.
    """

    recorded: RecordedRun

    @property
    def name(self) -> str:
        """The experiment's name, with its seed where there are several: `shots=8 seed=13`."""
        return self.recorded.name

    @property
    def id(self) -> str:
        """Hash of all that determines the result: 12 hexadecimal digits."""
        return self.recorded.id

    @property
    def recipe_id(self) -> str:
        """The same without the seed: shared by the runs of one row of the comparison."""
        return self.recorded.recipe_id

    @property
    def seed(self) -> int:
        """The seed. Where nothing is random it has no effect."""
        return self.recorded.seed

    @property
    def status(self) -> str:
        """`done`, `failed`, `oom`, `timeout`, `interrupted`, `running`, `damaged`, `unreadable` or `missing`."""
        return self.recorded.state

    @property
    def error(self) -> str:
        """Why it has no result, in one line; empty where it has one."""
        return self.recorded.error

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.recorded.folder.path

    @property
    def log(self) -> Path:
        """The file with what the run's process logged. It may be absent where the run never started."""
        return self.recorded.folder.log_file

    @property
    def config(self) -> dict[str, Any]:
        """The config as validated, without defaults, name and seed."""
        found: dict[str, Any] = self.recorded.config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return found

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the test split by name, shares from 0 to 1; empty without a result."""
        return dict(self.recorded.metrics())

    @property
    def validation_metrics(self) -> dict[str, float]:
        """The metrics of the validation split by name; empty where it was not evaluated."""
        return dict(self.recorded.metrics("validation"))

    @property
    def predictions(self) -> DataFrame:
        """The test split with the predictions: see `predictions_of`."""
        return self.predictions_of("test")

    @property
    def label_scores(self) -> LabelScores:
        """The label scores of the test split: see `label_scores_of`."""
        return self.label_scores_of("test")

    def predictions_of(self, split: Split) -> DataFrame:
        """Return an evaluated split with the predictions, N rows in the order of the data.

        Columns: those of the data, as text (with `_of_data` where their name is one of ours); `predictions`, for
        multilabel a JSON list; for labels `probabilities`, a dict of label to probability; for generated texts
        `logprob` (nats), `tokens`, and the metrics that each row has, as numbers, NaN where there is none.

        Raises:
            RunFailedError: the run has no result.
            UserError: it was not evaluated on that split, or its file is not the one that it has written.
        """
        found = self._answers(split)
        return self._read(lambda: _frame_of(found))

    def label_scores_of(self, split: Split) -> LabelScores:
        """Return the label scores of an evaluated split: arrays [N, L] with their labels.

        Raises:
            RunFailedError: the run has no result.
            UserError: it generates texts, was not evaluated on that split, or its file is not the one that it has
                written.
        """
        from sft.api.scores import LabelScores

        found = self._answers(split)
        if not found.labels:
            raise UserError(f"{self.name} generates texts: it has no label scores")
        tensors = self._read(lambda: self.recorded.folder.read_scores(split, _SCORES))
        probabilities_NL = found.probabilities_NL
        if probabilities_NL is None or set(_SCORES) - set(tensors):
            raise UserError(f"{self.name}: its label scores are incomplete")
        if found.task.takes_several:  # stored as yes and no to each label in turn
            tensors = {name: one.reshape(*one.shape[:-1], -1, 2) for name, one in tensors.items()}
        sum_NL, end_NL, first_NL, counts_L = (tensors[name] for name in _SCORES)
        return LabelScores(found.labels, sum_NL, end_NL, first_NL, counts_L, probabilities_NL, found.truth)

    def _answers(self, split: Split) -> Answers:
        from sft.report.read.answers import answers_of

        if self.recorded.result is None:
            raise RunFailedError(self.without_result())
        found = self._read(lambda: answers_of(self.recorded, split))
        if found is None:
            raise UserError(f"{self.name} has no predictions of the {split} split: it was not evaluated on it")
        return found

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from None
        except ODD as error:
            raise UserError(f"{self.name}: its files cannot be used ({type(error).__name__}: {error})") from None

    def without_result(self) -> str:
        """Return one line on a run without a result: how it ended, why, and where its log is."""
        why = f" ({self.error})" if self.error else ""
        log = f"; its log: {self.log}" if self.log.exists() else ""
        return f"{self.name} has no result: {in_words(self.status)}{why}{log}"

    def __repr__(self) -> str:
        figures = [f"{title(key)} {number(value, key)}" for key, value in list(self.metrics.items())[:2]]
        return f"Run({', '.join([repr(self.name), in_words(self.status), *figures])})"


def _frame_of(answers: Answers) -> DataFrame:
    frame = answers.table.to_pandas()
    place = answers.columns.index("predictions")
    for name in answers.columns[place + 1 :]:  # ours stand behind those of the data
        if name == "probabilities":
            frame[name] = list(map(json.loads, answers.texts(name)))
        elif (values_N := answers.numbers(name)) is not None:
            frame[name] = values_N
    return frame
