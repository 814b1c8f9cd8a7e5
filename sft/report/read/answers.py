"""Answers of a run, row by row: its `predictions.tsv` with the references. Computes no metrics.

Reads with pyarrow, since a report may read thousands of these files; strings are only created on demand.
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

OUTSIDE = -1  # a prediction outside the labels
_OURS = ("predictions", "probabilities")
_BLOCK = 2**20  # bytes read at once
_LARGEST_BLOCK = 2**31 - 1


@dataclass(frozen=True)
class Answers:
    """Answers of one run on one split, in the order of the split.

    Args:
        table: all columns of `predictions.tsv` as strings.
        config: config of the run.
        labels: labels in the order of the scores' columns; empty for generated texts.
        truth: reference labels as the run stored them: columns [N], for multilabel which apply [N, L]; None for
            generated texts or if the run stored none.
        changed_probabilities_NL: probabilities under another calibration; they replace the run's own.
        changed_logs_NL: their logarithms.
        scores_NL: stored scores whose softmax is the run's own probabilities; None if the run stored none.
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
        """Task type of the run."""
        return self.config.dataset.task

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the table's columns."""
        return tuple(self.table.column_names)

    def texts(self, column: str, rows: Sequence[int] | None = None) -> list[str]:
        """Return a column as strings; with `rows`, only of these rows."""
        values = self.table.column(column)
        return list((values if rows is None else values.take(_row_numbers(rows))).to_pylist())

    def numbers(self, column: str) -> NDArray[np.float64] | None:
        """Return a column as numbers [N], empty cells as NaN; None if it does not exist or has other values."""
        if column not in self.columns:
            return None
        try:
            return np.array([float(text) if text else np.nan for text in self.texts(column)], dtype=np.float64)
        except ValueError:
            return None

    @cached_property
    def references(self) -> list[str]:
        """Reference answers as strings: the label's name, the set of labels as a JSON list, or the reference text."""
        if self.truth is not None and self.truth.ndim == 1:
            return [self.labels[column] for column in self.truth.tolist()]
        return self.texts(self._reference_column)

    @cached_property
    def reference_N(self) -> NDArray[np.int64]:
        """Reference labels as columns [N] (classification only).

        Raises:
            UserError: the run stored no scores, and the column has other values than labels.
        """
        if self.truth is not None and self.truth.ndim == 1:
            return self.truth.astype(np.int64)
        reference_N = self._as_labels(self.texts(self._reference_column))
        if OUTSIDE in reference_N:
            raise UserError("its references are unknown: label_scores.safetensors is missing")
        return reference_N

    @cached_property
    def predicted_N(self) -> NDArray[np.int64]:
        """Predicted labels as columns [N], `OUTSIDE` for other predictions (classification only)."""
        if self.changed_probabilities_NL is not None:
            return self.changed_probabilities_NL.argmax(axis=1)
        return self._as_labels(self.texts("predictions"))

    @cached_property
    def probabilities_NL(self) -> NDArray[np.float64] | None:
        """Probabilities of the labels [N, L]; None if the run has none.

        Those from stored scores are exact; the table has six digits.
        """
        if self.changed_probabilities_NL is not None:
            return self.changed_probabilities_NL
        if self.scores_NL is not None:
            return probabilities(self.scores_NL)
        if "probabilities" not in self.columns or not self.labels:
            return None
        try:
            rows = json.loads(f"[{','.join(self.texts('probabilities'))}]")  # one call is a hundred times faster
            return np.array([[row[label] for label in self.labels] for row in rows], dtype=np.float64)
        except (KeyError, TypeError, ValueError):
            return None

    @cached_property
    def log_probabilities_NL(self) -> NDArray[np.float64] | None:
        """Logarithms of the probabilities [N, L]: exact where scores are stored, minus infinity for a 0."""
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
        columns = {label: column for column, label in enumerate(self.labels)}
        if not columns.keys() & set(texts):  # the column has label numbers instead of names
            columns = {str(column): column for column in range(len(self.labels))}
        return np.array([columns.get(text, OUTSIDE) for text in texts], dtype=np.int64)


def answers_of(run: Run, split: str = "test") -> Answers | None:
    """Return the answers of a run on a split; None if it has no result or no predictions there.

    Args:
        run: run of a report.
        split: `test` or `validation`.

    Raises:
        UserError: the file exists and cannot be read; names it.
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
    evaluated = run.result.rows.get(split, table.num_rows)
    if not is_sealed and evaluated != table.num_rows:
        raise UserError(f"{file.name} has {table.num_rows} rows, and {evaluated} were evaluated")
    scores_NL = own_scores(run, split) if labels and run.config.dataset.task.has_one_label else None
    if scores_NL is not None and scores_NL.shape != (table.num_rows, len(labels)):
        scores_NL = None
    truth = _truth(run.folder, split) if labels else None
    return Answers(table, run.config, labels, truth, scores_NL=scores_NL)


def own_scores(run: Run, split: str) -> NDArray[Any] | None:
    """Return the scores [N, L] whose softmax is the run's probabilities; None if it stored none.

    Older versions did not store calibrated log-probabilities; these are computed from the stored evidence, unless the
    calibration is a user's function, whose code a report does not run.
    """
    inference = run.config.inference or InferenceConfig()
    kind, calibration = inference.label_scoring, inference.calibration_args
    try:
        if calibration is None:
            return SplitScores(run.folder.read_scores(split, NEEDED_OF_ROWS)).scores(kind)
        stored = run.folder.read_scores(split, (CALIBRATED,)).get(CALIBRATED)
        if stored is not None or calibration.calibration_fn not in CALIBRATIONS:
            return stored
        settings = Settings(calibration.num_estimations, calibration.gamma_range, calibration.gamma_steps)
        scored = SplitScores(run.folder.read_scores(split))
        return calibrate(calibration.calibration_fn, scored.evidence(kind, settings)).logs_NL
    except (UserError, KeyError, ValueError):
        return None


def _row_numbers(rows: Sequence[int]) -> Any:
    """Return row numbers as a pyarrow array, built from bytes: from a list, pyarrow would import pandas."""
    from pyarrow import Int64Array, int64, py_buffer

    numbers = np.asarray(rows, dtype=np.int64)
    return Int64Array.from_buffers(int64(), len(numbers), [None, py_buffer(numbers.tobytes())])


def read_table(file: Path) -> Any:
    """Read a table of predictions as a pyarrow table of string columns.

    Raises:
        UserError: the file cannot be read; names it.
    """
    from pyarrow import ArrowInvalid, csv, string

    options = csv.ParseOptions(delimiter="\t", newlines_in_values=True)

    def read(block: int) -> Any:
        # files are opened here, since pyarrow only accepts paths in UTF-8
        reading = csv.ReadOptions(use_threads=False, block_size=block)
        with file.open("rb") as source:
            header = csv.open_csv(source, reading, options).schema.names
        types = csv.ConvertOptions(column_types=dict.fromkeys(header, string()), strings_can_be_null=False)
        with file.open("rb") as source:
            return csv.read_csv(source, reading, options, types)

    try:
        try:
            return read(_BLOCK)
        except ArrowInvalid:  # a row may be longer than two blocks; any other error is raised again
            return read(min(file.stat().st_size + 1, _LARGEST_BLOCK))
    except (OSError, ArrowInvalid) as error:
        raise UserError(f"{file} cannot be read: {error}") from None


def _truth(folder: RunFolder, split: str) -> NDArray[Any] | None:
    from sft.calibration.stored import LABEL

    try:
        return folder.read_scores(split, (LABEL,)).get(LABEL)
    except UserError:
        return None
