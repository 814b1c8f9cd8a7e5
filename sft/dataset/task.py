"""A data set opened for one experiment: its splits, labels, answers and shots, as configured.

Uses no prompts and no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sft.config.experiment import Experiment
from sft.config.identity import data_content, identity, uses_shots
from sft.config.sections.schema import ExperimentConfig
from sft.dataset.labels import discover_labels, label_texts, labels_of
from sft.dataset.load import Splits, check_columns, load_splits, sample_rows
from sft.dataset.overlap import Overlap, count_overlap, describe_overlap
from sft.dataset.reading.sources import rows_sha256
from sft.dataset.rows import Rows
from sft.dataset.shots import Shots, describe_shortfall, draw_shots, draw_shots_of_sets, last_shots
from sft.errors import DataError
from sft.evaluation.multilabel import membership, set_text
from sft.io import canonical_json, digest
from sft.log import get_logger
from sft.task_types import TaskType

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = get_logger(__name__)


@dataclass(frozen=True)
class LabelledRows:
    """Rows of a split with their answers as strings.

    Args:
        rows: the table.
        answers: label (classification), set of labels (multilabel, see `sft.evaluation.multilabel`) or reference text
            of each row.
        shown: text that the model reads and writes for each answer: the label's verbalizer, else the answer.
    """

    rows: Rows
    answers: tuple[str, ...]
    shown: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.answers)

    def inputs(self, columns: Sequence[str]) -> list[dict[str, str]]:
        """Return some columns of each row as strings; absent cells are empty."""
        cells = [[text or "" for text in self.rows.texts(name)] for name in columns]
        return [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]

    def joined(self, columns: Sequence[str]) -> list[str]:
        """Return the input of each row as one string."""
        return ["\n".join(row.values()) for row in self.inputs(columns)]

    def select(self, indices: list[int]) -> LabelledRows:
        """Return rows by index, in the order of the indices."""
        return LabelledRows(
            self.rows.select(indices),
            tuple(self.answers[i] for i in indices),
            tuple(self.shown[i] for i in indices),
        )


@dataclass(frozen=True)
class Task:
    """The opened data of one experiment.

    Args:
        experiment: config and seed.
        labels: the labels in the order of the score columns; None for generation.
        label_texts: text that the model reads and writes for each label; None for generation.
        train_rows: the table of the train split, without reading its answers; None without a train split.
        evaluated: the evaluated splits by role (`test`, `validation`), sampled down to `max_n_test`.
        whole: the evaluated splits with all rows.
        uses_train: whether rows of the train split are trained on, shown or used for calibration.
        source: all splits of the data set.
    """

    experiment: Experiment
    labels: tuple[str, ...] | None
    label_texts: tuple[str, ...] | None
    train_rows: Rows | None
    evaluated: dict[str, LabelledRows]
    whole: dict[str, LabelledRows]
    uses_train: bool
    source: Mapping[str, Rows]

    @property
    def type(self) -> TaskType:
        """The kind of answer."""
        return self.experiment.config.dataset.task

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the score columns: the labels, or yes and no for each label in turn; empty for generation."""
        if not self.type.takes_several:
            return self.labels or ()
        return tuple(
            f"{label}: {word}" for label in self.labels or () for word in self.experiment.config.prompting.yes_no
        )

    def own_column(self, answer: str) -> str:
        """Return the score column of a row's answer; for several labels, that of the first question."""
        if not self.type.takes_several:
            return answer
        return self.columns[0 if (self.labels or ("",))[0] in json.loads(answer) else 1]

    def truth(self, rows: LabelledRows) -> NDArray[Any]:
        """Return the labels of the rows: as score columns [N], or for multilabel which labels apply [N, L]."""
        labels = self.labels or ()
        if self.type.takes_several:
            return membership(rows.answers, labels)
        columns = {label: column for column, label in enumerate(labels)}
        return np.array([columns[answer] for answer in rows.answers], dtype=np.int64)

    @cached_property
    def train(self) -> LabelledRows | None:
        """The train split. Its answers are read on first use, since a zero-shot run does not need them.

        Raises:
            DataError: a row without an answer, or with an unknown label.
        """
        if self.train_rows is None:
            return None
        return _labelled(self.experiment.config, self.train_rows, "train", _pairs(self.labels, self.label_texts))

    @cached_property
    def overlap(self) -> Overlap:
        """Counts of duplicate rows, within each split and between the train split (if used) and the others.

        Raises:
            DataError: a row of the train split without an answer.
        """
        columns = self.experiment.config.prompting.input_columns
        train = {"train": self.train} if self.uses_train and self.train is not None else {}
        splits = {role: (rows.joined(columns), rows.answers) for role, rows in {**train, **self.whole}.items()}
        return count_overlap(splits, self.experiment.config.dataset.near_duplicates)

    def notes(self) -> list[str]:
        """Return sentences about the data that a reader of the figures should know."""
        config = self.experiment.config
        sentences = describe_overlap(self.overlap.record(), _name_of(config))
        if self.overlap.train_rows and not config.dataset.drop_overlap:
            sentences[0] += "; dataset.drop_overlap excludes them from training"
        return sentences

    @cached_property
    def dropped(self) -> frozenset[int]:
        """Rows of `train` that `dataset.drop_overlap` excludes."""
        return self.overlap.train_rows if self.experiment.config.dataset.drop_overlap else frozenset()

    @cached_property
    def shots(self) -> Shots:
        """The rows of `train` that are trained on or shown as examples; empty if nothing uses them.

        Raises:
            DataError: the train split has no row to draw.
        """
        config = self.experiment.config
        count = config.dataset.shots
        if count == 0 or not uses_shots(config, self.experiment.endpoint) or self.train is None:
            return Shots((), {}, count)
        shots = self._drawn(self.train.answers, count, self.experiment.seed_of("shots"))
        if not len(shots):
            left = f" left; dataset.drop_overlap excludes {len(self.dropped)} rows" if self.dropped else ""
            raise DataError(f"{config.dataset.path}: the train split has no row to draw shots from{left}")
        return shots

    def shortfall(self) -> str | None:
        """Return a sentence if the train split has fewer rows than the requested shots, else None."""
        shots = self.shots
        if not isinstance(shots.requested, int):
            return None
        return describe_shortfall(shots.per_label or {"": len(shots)}, shots.requested)

    @cached_property
    def validation_shots(self) -> tuple[int, ...]:
        """The shots for validation instead of training (see `training.validation_size`).

        Raises:
            DataError: no shot would be left to train on.
        """
        training, experiment = self.experiment.config.training, self.experiment
        if training is None or training.validation_size is None or not experiment.trains or self.train is None:
            return ()
        rows = self.shots.indices
        kinds = [self.train.answers[row] if self.type.has_one_label else "" for row in rows]
        return last_shots(rows, kinds, training.validation_size)

    def _drawn(self, answers: Sequence[str], count: int | Literal["all"], seed: int) -> Shots:
        if self.type.takes_several:
            sets = [json.loads(text) for text in answers]
            return draw_shots_of_sets(sets, self.labels or (), count, seed, self.dropped)
        return draw_shots(answers, self.labels, count, seed, self.dropped)


def open_task(experiment: Experiment) -> Task:
    """Open the data of an experiment and draw its shots.

    Raises:
        DataError: the data cannot be used; the message is one line.
    """
    config = experiment.config
    evaluated = [] if experiment.endpoint == "train" else ["test", "validation"]
    needs_train = experiment.trains or _draws_examples(experiment) or calibration_rows(experiment) > 0
    needs_train = needs_train or uses_shots(config, experiment.endpoint)
    # The dropped rows depend on the other splits even if these are not evaluated.
    others = ["test", "validation"] if config.dataset.drop_overlap else []
    splits = load_splits(config.dataset, ["train", *evaluated] if needs_train else evaluated, ["train", *others])
    read = splits if needs_train or _labels_come_from_train(config, splits) else replace(splits, train=None)
    for role, rows in read.named().items():
        _check_columns(rows, config, role)
    labels = discover_labels(config, read) if config.dataset.task.has_labels else None
    texts = tuple(label_texts(config, labels)) if labels is not None else None
    shown_for = _pairs(labels, texts)
    whole = {role: _labelled(config, rows, role, shown_for) for role, rows in splits.named().items() if role != "train"}
    task = Task(
        experiment=experiment,
        labels=labels,
        label_texts=texts,
        train_rows=splits.train,
        evaluated={role: _sampled(config, rows, role) for role, rows in whole.items() if role in evaluated},
        whole=whole,
        uses_train=needs_train,
        source=splits.source,
    )
    for note in task.notes():
        log.info("%s", note)
    if uses_shots(config, experiment.endpoint):
        log.debug("%d shots drawn", len(task.shots))  # drawn now, so that errors come before anything else runs
    else:
        _warn_of_unused_shots(experiment)
    return task


def _name_of(config: ExperimentConfig) -> str:
    path = Path(config.dataset.path)
    return path.name if path.is_absolute() else config.dataset.path


def fingerprint(task: Task) -> dict[str, Any]:
    """Return the fingerprint of the data: path, SHA-256, number of rows by split, counts of duplicates.

    The hash is over local files, or over the rows of all splits of a remote data set.
    """
    dataset = task.experiment.config.dataset
    sizes = {role: len(rows) for role, rows in task.evaluated.items()}
    if task.train_rows is not None:
        sizes["train"] = len(task.train_rows)
    sha256 = data_content(dataset) or rows_sha256(task.source)
    return {"path": dataset.path, "sha256": sha256, "rows": sizes, "overlap": task.overlap.record()}


def train_key(config: ExperimentConfig) -> str:
    """Return a key that is equal for train splits with the same rows in the same order, so that row numbers agree."""
    data = identity(config, "train", None)["sections"]["dataset"]  # local files by their content
    return digest(canonical_json([data["path"], data.get("args"), data.get("train_split")]), 16)


def calibration_rows(experiment: Experiment) -> int:
    """Return the number of labelled rows that a calibration is fitted on, from the config; 0 for none."""
    config = experiment.config
    if experiment.endpoint == "train" or config.inference is None or not config.dataset.task.has_one_label:
        return 0
    calibration = config.inference.calibration_args
    return 0 if calibration is None else calibration.train_samples


def _draws_examples(experiment: Experiment) -> bool:
    inference = experiment.config.inference
    return experiment.endpoint != "train" and inference is not None and inference.icl_examples > 0


def _warn_of_unused_shots(experiment: Experiment) -> None:
    config = experiment.config
    if config.dataset.shots != 0 and config.model.adapter is None:
        log.warning(
            "dataset.shots is not used by %s: nothing is trained; set model.adapter to a trained adapter",
            experiment.endpoint,
        )


def _labels_come_from_train(config: ExperimentConfig, splits: Splits) -> bool:
    """Whether the labels are known only from the answers of the train split."""
    if not config.dataset.task.has_labels or config.dataset.labels:
        return False
    evaluated = replace(splits, train=None).named().values()
    return not any(rows.names(config.prompting.output_column) for rows in evaluated)


def _check_columns(rows: Rows, config: ExperimentConfig, role: str) -> None:
    output = config.prompting.output_column
    lists = [output] if config.dataset.task.takes_several else []
    check_columns(rows, [*config.prompting.input_columns, output], f"{config.dataset.path} ({role})", lists)


def _pairs(labels: tuple[str, ...] | None, texts: tuple[str, ...] | None) -> dict[str, str] | None:
    """Return the text shown for each label; None for generation."""
    return None if labels is None or texts is None else dict(zip(labels, texts, strict=True))


def _labelled(config: ExperimentConfig, rows: Rows, role: str, shown_for: dict[str, str] | None) -> LabelledRows:
    _check_columns(rows, config, role)
    where = f"{config.dataset.path} ({role})"
    sets = labels_of(rows, config, where)
    if shown_for is not None and (unknown := sorted({label for row in sets for label in row} - set(shown_for))):
        raise DataError(f'{where} has the unknown label "{unknown[0]}"; set dataset.labels')
    if config.dataset.task.takes_several and shown_for is not None:
        texts = tuple(set_text([label for label in shown_for if label in row]) for row in sets)
        return LabelledRows(rows, texts, texts)  # never shown: the model is shown yes or no to a question
    answers = [label for (label,) in sets]
    shown = answers if shown_for is None else [shown_for[label] for label in answers]
    return LabelledRows(rows, tuple(answers), tuple(shown))


def _sampled(config: ExperimentConfig, labelled: LabelledRows, role: str) -> LabelledRows:
    """Return an evaluated split: all rows, or the constant sample of `max_n_test` rows, with a log line."""
    chosen = sample_rows(labelled.rows, config.dataset.max_n_test)
    if len(chosen) < len(labelled):
        log.info("Evaluating a constant sample of %d of the %d %s rows (max_n_test)", len(chosen), len(labelled), role)
    return labelled.select(chosen)
