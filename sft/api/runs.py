"""A run of a results folder: its settings, metrics, predictions and label scores."""

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
    """A run without a result. The message gives the reason and the path of the log."""


@dataclass(frozen=True)
class Run:
    """One experiment with one seed, finished or not.

    Files are read when they are needed, and only if they are unchanged since the run wrote them.

    Args:
        recorded: the run as a report reads it.
    """

    recorded: RecordedRun

    @property
    def name(self) -> str:
        """The experiment's name, with its seed if there are several seeds: `shots=8 seed=13`."""
        return self.recorded.name

    @property
    def id(self) -> str:
        """Hash of everything that determines the result: 12 hexadecimal digits."""
        return self.recorded.id

    @property
    def recipe_id(self) -> str:
        """Hash of everything except the seed: shared by the runs of a row of the comparison."""
        return self.recorded.recipe_id

    @property
    def seed(self) -> int:
        """The seed. It has no effect on a deterministic run."""
        return self.recorded.seed

    @property
    def status(self) -> str:
        """`done`, `failed`, `oom`, `timeout`, `interrupted`, `running`, `damaged`, `unreadable` or `missing`."""
        return self.recorded.state

    @property
    def error(self) -> str:
        """The reason why it has no result, in one line; empty if it has a result."""
        return self.recorded.error

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.recorded.folder.path

    @property
    def log(self) -> Path:
        """The log of the run's process. The file may be absent if the run never started."""
        return self.recorded.folder.log_file

    @property
    def config(self) -> dict[str, Any]:
        """The validated config, without defaults, name and seed."""
        config: dict[str, Any] = self.recorded.config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return config

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the test split by name, shares from 0 to 1; empty without a result."""
        return dict(self.recorded.metrics())

    @property
    def validation_metrics(self) -> dict[str, float]:
        """The metrics of the validation split by name; empty if it was not evaluated."""
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

        Columns: those of the data, as strings (with the suffix `_of_data` if the name is also one of ours);
        `predictions`, for multilabel a JSON list; for labels `probabilities`, a dict of label to probability; for
        generated texts `logprob` (nats), `tokens`, and the metrics of each row as numbers, NaN if a row has none.

        Raises:
            RunFailedError: the run has no result.
            UserError: the run was not evaluated on that split, or its file was changed.
        """
        answers = self._answers(split)
        return self._read(lambda: _frame_of(answers))

    def label_scores_of(self, split: Split) -> LabelScores:
        """Return the label scores of an evaluated split: arrays [N, L] with their labels.

        Raises:
            RunFailedError: the run has no result.
            UserError: the run generates texts, was not evaluated on that split, or its file was changed.
        """
        from sft.api.scores import LabelScores

        answers = self._answers(split)
        if not answers.labels:
            raise UserError(f"{self.name} generates texts: it has no label scores")
        tensors = self._read(lambda: self.recorded.folder.read_scores(split, _SCORES))
        probabilities_NL = answers.probabilities_NL
        if probabilities_NL is None or set(_SCORES) - set(tensors):
            raise UserError(f"{self.name}: its label scores are incomplete")
        if answers.task.takes_several:  # stored as yes and no to each label in turn
            tensors = {name: one.reshape(*one.shape[:-1], -1, 2) for name, one in tensors.items()}
        sum_NL, end_NL, first_NL, counts_L = (tensors[name] for name in _SCORES)
        return LabelScores(answers.labels, sum_NL, end_NL, first_NL, counts_L, probabilities_NL, answers.truth)

    def _answers(self, split: Split) -> Answers:
        from sft.report.read.answers import answers_of

        if self.recorded.result is None:
            raise RunFailedError(self.without_result())
        answers = self._read(lambda: answers_of(self.recorded, split))
        if answers is None:
            raise UserError(f"{self.name} has no predictions of the {split} split: it was not evaluated on it")
        return answers

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from None
        except ODD as error:
            raise UserError(f"{self.name}: its files cannot be used ({type(error).__name__}: {error})") from None

    def without_result(self) -> str:
        """Return one line on a run without a result: its state, the reason, and the path of its log."""
        why = f" ({self.error})" if self.error else ""
        log = f"; its log: {self.log}" if self.log.exists() else ""
        return f"{self.name} has no result: {in_words(self.status)}{why}{log}"

    def __repr__(self) -> str:
        figures = [f"{title(key)} {number(value, key)}" for key, value in list(self.metrics.items())[:2]]
        return f"Run({', '.join([repr(self.name), in_words(self.status), *figures])})"


def _frame_of(answers: Answers) -> DataFrame:
    frame = answers.table.to_pandas()
    first = answers.columns.index("predictions")
    for name in answers.columns[first + 1 :]:  # our columns come after those of the data
        if name == "probabilities":
            frame[name] = list(map(json.loads, answers.texts(name)))
        elif (values_N := answers.numbers(name)) is not None:
            frame[name] = values_N
    return frame
