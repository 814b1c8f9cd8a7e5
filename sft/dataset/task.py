"""A data set opened for one experiment: its splits, labels, answers and shots, all as the config says.

Knows no prompts and no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sft.config.experiment import Experiment
from sft.dataset.labels import answers, discover_labels, label_texts
from sft.dataset.load import Splits, check_columns, load_splits, sample_rows
from sft.dataset.shots import Shots, draw_shots
from sft.errors import DataError
from sft.io import hash_path
from sft.log import get_logger

if TYPE_CHECKING:
    from pathlib import Path

    from datasets import Dataset

log = get_logger(__name__)


@dataclass(frozen=True)
class LabelledRows:
    """A split's rows beside their answers, as text.

    Args:
        rows: the table.
        answers: label (classification) or reference text of each row.
        shown: what the model reads and writes for each answer: the label's verbalizer, else the answer.
    """

    rows: Dataset
    answers: tuple[str, ...]
    shown: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.answers)

    def select(self, indices: list[int]) -> LabelledRows:
        """The given rows, in the given order."""
        return LabelledRows(
            self.rows.select(indices),
            tuple(self.answers[i] for i in indices),
            tuple(self.shown[i] for i in indices),
        )


@dataclass(frozen=True)
class Task:
    """What one experiment works on.

    Args:
        labels: the labels in the order of the score columns; None for generation.
        label_texts: what the model reads and writes for each label; None for generation.
        train: the train split; None when the experiment needs no labelled rows.
        judged: the splits that are evaluated, by role (`test`, `validation`), cut to `max_n_test`.
        shots: which rows of `train` are trained on; empty at 0 shots.
    """

    labels: tuple[str, ...] | None
    label_texts: tuple[str, ...] | None
    train: LabelledRows | None
    judged: dict[str, LabelledRows]
    shots: Shots


def open_task(experiment: Experiment) -> Task:
    """Open the data of an experiment and draw its shots.

    Raises:
        DataError: what is wrong with the data, in one line.
    """
    config = experiment.config
    classifies = config.dataset.task_type == "classification"
    judged = [] if experiment.endpoint == "train" else ["test", "validation"]
    needs_train = experiment.trains or _draws_examples(experiment)
    optional = ["train"] if classifies and not needs_train else []
    splits = load_splits(config.dataset, ["train", *judged] if needs_train else judged, optional)
    for rows in splits.named().values():
        columns = [*config.prompting.input_columns, config.prompting.output_column]
        check_columns(rows, columns, config.dataset.path)
    labels = discover_labels(config, splits) if classifies else None
    texts = label_texts(config, labels) if labels is not None else None
    shown_for = dict(zip(labels, texts, strict=True)) if labels is not None and texts is not None else None
    train = _labelled(experiment, splits, "train", shown_for)
    return Task(
        labels=labels,
        label_texts=tuple(texts) if texts is not None else None,
        train=train,
        judged={role: rows for role in judged if (rows := _judged(experiment, splits, role, shown_for)) is not None},
        shots=_shots(experiment, train, labels),
    )


def fingerprint(task: Task, path: Path) -> dict[str, Any]:
    """What data this was: where it lies, its content's hash if it is local, rows of each split."""
    sizes = {role: len(rows) for role, rows in task.judged.items()}
    if task.train is not None:
        sizes["train"] = len(task.train)
    return {"path": str(path), "sha256": hash_path(path) if path.exists() else None, "rows": sizes}


def _draws_examples(experiment: Experiment) -> bool:
    inference = experiment.config.inference
    return experiment.endpoint != "train" and inference is not None and inference.icl_examples > 0


def _labelled(
    experiment: Experiment, splits: Splits, role: str, shown_for: dict[str, str] | None
) -> LabelledRows | None:
    rows = splits.named().get(role)
    if rows is None:
        return None
    config = experiment.config
    texts = answers(rows, config.prompting.output_column, f"{config.dataset.path} ({role})")
    shown = texts if shown_for is None else [shown_for[text] for text in texts]
    return LabelledRows(rows, tuple(texts), tuple(shown))


def _judged(experiment: Experiment, splits: Splits, role: str, shown_for: dict[str, str] | None) -> LabelledRows | None:
    """A split that is evaluated: all of it, or the constant sample of `max_n_test` rows, which is said in the log."""
    labelled = _labelled(experiment, splits, role, shown_for)
    if labelled is None:
        return None
    chosen = sample_rows(labelled.rows, experiment.config.dataset.max_n_test)
    if len(chosen) < len(labelled):
        log.info("Judging a constant sample of %d of the %d %s rows (max_n_test)", len(chosen), len(labelled), role)
    return labelled.select(chosen)


def _shots(experiment: Experiment, train: LabelledRows | None, labels: tuple[str, ...] | None) -> Shots:
    count = experiment.config.dataset.shots
    if train is None or count == 0:
        return Shots((), {}, 0)
    shots = draw_shots(train.answers, labels, count, experiment.seed_of("shots"))
    if not len(shots):
        raise DataError(f"{experiment.config.dataset.path}: the train split has no row to draw shots from")
    return shots
