"""What a run answered, row by row: its `predictions.tsv` and the references beside it. Judges nothing.

Read with pyarrow, since a report may read thousands of these files; texts stay in the table until somebody asks.
Shapes: N rows, L labels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft.calibration.apply import calibrate
from sft.calibration.arithmetic import log_probabilities, logarithms, probabilities
from sft.calibration.base import Settings
from sft.calibration.stored import CALIBRATED, NEEDED_OF_ROWS, SplitScores
from sft.config.sections.inference import InferenceConfig
from sft.config.sections.schema import ExperimentConfig
from sft.errors import UserError
from sft.plugins import CALIBRATIONS
from sft.report.read.runs import Run
from sft.results.store import RunFolder
from sft.task_types import TaskType

OUTSIDE = -1  # a prediction that is none of the labels
_OURS = ("predictions", "probabilities")
_BLOCK = 2**20  # bytes that are read at once
_LARGEST_BLOCK = 2**31 - 1


@dataclass(frozen=True)
class Answers:
    """The judged rows of one run on one split, in the order of the split.

    Args:
        table: all columns of `predictions.tsv`, as text.
        config: of the run.
        labels: in the order of the scores' columns; empty for generated texts.
        truth: the rows' own labels as the run stored them: columns [N], for multilabel which apply [N, L]; None for
            generated texts, or where the run has left none.
        changed_probabilities_NL: probabilities that stand in for the run's own, under another calibration.
        changed_logs_NL: their logarithms.
        scores_NL: what the run's own probabilities are the softmax of, as stored; None where the run has left none.
    """

    table: Any
    config: ExperimentConfig
    labels: tuple[str, ...]
    truth: NDArray[Any] | None
    changed_probabilities_NL: NDArray[np.float64] | None = None
    changed_logs_NL: NDArray[np.float64] | None = None
    scores_NL: NDArray[Any] | None = None

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def task(self) -> TaskType:
        """What an answer is."""
        return self.config.dataset.task

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table."""
        return tuple(self.table.column_names)

    def texts(self, column: str, rows: Sequence[int] | None = None) -> list[str]:
        """A column as texts; of some rows only, where they are given."""
        found = self.table.column(column)
        return list((found if rows is None else found.take(_places(rows))).to_pylist())

    def numbers(self, column: str) -> NDArray[np.float64] | None:
        """A column of numbers [N], an empty cell NaN; None where there is no such column, or it holds other things."""
        if column not in self.columns:
            return None
        try:
            return np.array([float(text) if text else np.nan for text in self.texts(column)], dtype=np.float64)
        except ValueError:
            return None

    @cached_property
    def references(self) -> list[str]:
        """The rows' own answers, as text: the label's name, the set of labels as JSON list, the reference text."""
        if self.truth is not None and self.truth.ndim == 1:
            return [self.labels[column] for column in self.truth.tolist()]
        return self.texts(self._reference_column)

    @cached_property
    def reference_N(self) -> NDArray[np.int64]:
        """The rows' own labels, as columns [N] (classification only).

        Raises:
            UserError: they cannot be told: the run left no scores, and the column holds something else than labels.
        """
        if self.truth is not None and self.truth.ndim == 1:
            return self.truth.astype(np.int64)
        found = self._as_labels(self.texts(self._reference_column))
        if OUTSIDE in found:
            raise UserError("its references cannot be told: label_scores.safetensors is missing")
        return found

    @cached_property
    def predicted_N(self) -> NDArray[np.int64]:
        """The predicted labels, as columns [N], `OUTSIDE` for what is none (classification only)."""
        if self.changed_probabilities_NL is not None:
            return self.changed_probabilities_NL.argmax(axis=1)
        return self._as_labels(self.texts("predictions"))

    @cached_property
    def probabilities_NL(self) -> NDArray[np.float64] | None:
        """The probabilities of the labels [N, L]; None where the run gave none.

        Those of stored scores are exact; the table has six digits of them.
        """
        if self.changed_probabilities_NL is not None:
            return self.changed_probabilities_NL
        if self.scores_NL is not None:
            return probabilities(self.scores_NL)
        if "probabilities" not in self.columns or not self.labels:
            return None
        try:
            rows = json.loads(f"[{','.join(self.texts('probabilities'))}]")  # one call: a hundred times as quick
            return np.array([[row[label] for label in self.labels] for row in rows], dtype=np.float64)
        except (KeyError, TypeError, ValueError):
            return None

    @cached_property
    def log_probabilities_NL(self) -> NDArray[np.float64] | None:
        """The logarithms of the probabilities [N, L]: exact where scores are stored, minus infinity for a 0."""
        if self.changed_logs_NL is not None:
            return self.changed_logs_NL
        if self.changed_probabilities_NL is None and self.scores_NL is not None:
            return log_probabilities(self.scores_NL)
        return None if self.probabilities_NL is None else logarithms(self.probabilities_NL)

    @property
    def _reference_column(self) -> str:
        name = self.config.prompting.output_column if self.config.prompting is not None else ""
        return f"{name}_of_data" if f"{name}_of_data" in self.columns else name

    def _as_labels(self, texts: Sequence[str]) -> NDArray[np.int64]:
        places = {label: column for column, label in enumerate(self.labels)}
        if not places.keys() & set(texts):  # a column of numbers that have names
            places = {str(column): column for column in range(len(self.labels))}
        return np.array([places.get(text, OUTSIDE) for text in texts], dtype=np.int64)


def answers_of(run: Run, split: str = "test") -> Answers | None:
    """What a finished run answered on a split; None without a result on it, and where its files do not tell.

    Args:
        run: of a report.
        split: `test` or `validation`.

    Raises:
        UserError: the file is there and cannot be read; names it.
    """
    if run.result is None or not run.result.metrics.get(split):
        return None
    file = run.folder.predictions_file(split)
    if not file.exists():
        return None
    if (scores := run.folder.scores_file(split)).is_symlink() or scores.exists():  # generated texts have none
        run.folder.check_file(scores)
    is_sealed = run.folder.check_file(file)
    results = json.loads(run.result.record)["results"]
    labels = tuple((results if split == "test" else results[split]).get("support", {}))
    table = read_table(file)
    judged = run.result.rows.get(split, table.num_rows)
    if not is_sealed and judged != table.num_rows:
        raise UserError(f"{file.name} has {table.num_rows} rows, and {judged} were evaluated")
    scores_NL = own_scores(run, split) if labels and run.config.dataset.task.has_one_label else None
    if scores_NL is not None and scores_NL.shape != (table.num_rows, len(labels)):
        scores_NL = None
    truth = _truth(run.folder, split) if labels else None
    return Answers(table, run.config, labels, truth, scores_NL=scores_NL)


def own_scores(run: Run, split: str) -> NDArray[Any] | None:
    """The scores [N, L] whose softmax a run gave as probabilities; None where it has stored none.

    A run of a version that did not store calibrated log-probabilities: by the stored evidence, unless the calibration
    is a function of the user's, whose code a report does not run.
    """
    inference = run.config.inference or InferenceConfig()
    kind, given = inference.label_scoring, inference.calibration_args
    try:
        if given is None:
            return SplitScores(run.folder.read_scores(split, NEEDED_OF_ROWS)).scores(kind)
        stored = run.folder.read_scores(split, (CALIBRATED,)).get(CALIBRATED)
        if stored is not None or given.calibration_fn not in CALIBRATIONS:
            return stored
        settings = Settings(given.num_estimations, given.gamma_range, given.gamma_steps)
        scored = SplitScores(run.folder.read_scores(split))
        return calibrate(given.calibration_fn, scored.evidence(kind, settings)).logs_NL
    except (UserError, KeyError, ValueError):
        return None


def _places(rows: Sequence[int]) -> Any:
    """Row numbers as pyarrow takes them; by their bytes, since to make an array of a list it imports pandas."""
    from pyarrow import Int64Array, int64, py_buffer

    numbers = np.asarray(rows, dtype=np.int64)
    return Int64Array.from_buffers(int64(), len(numbers), [None, py_buffer(numbers.tobytes())])


def read_table(file: Path) -> Any:
    """A table of predictions as pyarrow has it, every column as text.

    Raises:
        UserError: it cannot be read; names it.
    """
    from pyarrow import ArrowInvalid, csv, string

    options = csv.ParseOptions(delimiter="\t", newlines_in_values=True)

    def read(block: int) -> Any:
        # files are opened here: pyarrow takes paths in UTF-8 only
        reading = csv.ReadOptions(use_threads=False, block_size=block)
        with file.open("rb") as source:
            header = csv.open_csv(source, reading, options).schema.names
        types = csv.ConvertOptions(column_types=dict.fromkeys(header, string()), strings_can_be_null=False)
        with file.open("rb") as source:
            return csv.read_csv(source, reading, options, types)

    try:
        try:
            return read(_BLOCK)
        except ArrowInvalid:  # a row may be longer than two blocks; whatever else it is comes again
            return read(min(file.stat().st_size + 1, _LARGEST_BLOCK))
    except (OSError, ArrowInvalid) as error:
        raise UserError(f"{file} cannot be read: {error}") from None


def _truth(folder: RunFolder, split: str) -> NDArray[Any] | None:
    from sft.calibration.stored import LABEL

    try:
        return folder.read_scores(split, (LABEL,)).get(LABEL)
    except UserError:
        return None
