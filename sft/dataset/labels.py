"""The labels, their order, and each row's label as a string. Uses no prompts or models.

A label is the ClassLabel name, or the cell as a string (see `sft.dataset.cells`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from math import isfinite

from sft.config.sections.schema import ExperimentConfig
from sft.dataset.label_sets import label_sets
from sft.dataset.load import Splits
from sft.dataset.rows import Rows
from sft.errors import DataError
from sft.log import get_logger, some

log = get_logger(__name__)

MOST_LABELS = 10_000  # each is scored after every prompt


def discover_labels(config: ExperimentConfig, splits: Splits) -> tuple[str, ...]:
    """Return the labels, in the order of the score columns.

    These are `dataset.labels` if set; else the ClassLabel names; else the sorted labels of the train split; else the
    sorted labels of the test split, with a warning.

    Raises:
        DataError: fewer than two labels, or a row whose label is not among them.
    """
    column = config.prompting.output_column
    labels = config.dataset.labels or _names(splits, column) or _observed(config, splits)
    if len(labels) < 2 and not (labels and config.dataset.task.takes_several):
        raise DataError(
            f'{config.dataset.path}: column "{column}" has fewer than two labels ({", ".join(labels) or "none"}); '
            "a classification needs two or more"
        )
    if len(labels) > MOST_LABELS:
        raise DataError(
            f'{config.dataset.path}: column "{column}" has {len(labels):,} labels; at most {MOST_LABELS:,} can '
            'be scored; choose another prompting.output_column, or set dataset.task_type to "generation"'
        )
    for role, rows in splits.named().items():
        sets = labels_of(rows, config, f"{config.dataset.path} ({role})")
        _check_known([label for row_labels in sets for label in row_labels], labels, role, config)
    if all(label.lstrip("-").isdigit() for label in labels) and config.prompting.verbalizers is None:
        log.warning(
            "The labels are numbers (%s); set prompting.verbalizers to give the model words for them",
            ", ".join(labels[:5]),
        )
    return tuple(labels)


def labels_of(rows: Rows, config: ExperimentConfig, where: str) -> list[list[str]]:
    """Return each row's labels: one for classification, any number for multilabel.

    Raises:
        DataError: a row has no label (classification), or all rows have none (multilabel).
    """
    column = config.prompting.output_column
    if config.dataset.task.takes_several:
        return label_sets(rows, column, config.dataset.label_separator, where)
    return [[text] for text in answers(rows, column, where)]


def label_texts(config: ExperimentConfig, labels: Sequence[str]) -> list[str]:
    """Return what the model reads and writes for each label: its verbalizer, else the label itself.

    Raises:
        DataError: a verbalizer for an unknown label, a label without a verbalizer, or two labels with the same text.
    """
    verbalizers = config.prompting.verbalizers or {}
    known = frozenset(labels)
    for label in verbalizers:
        if label not in known:
            raise DataError(f'prompting.verbalizers: "{label}" is not a label (labels: {some(labels, 12)})')
    if lacking := [label for label in labels if verbalizers and label not in verbalizers]:
        raise DataError(f"prompting.verbalizers lacks a text for {', '.join(lacking[:5])} (labels: {some(labels, 12)})")
    texts = [verbalizers.get(label, label) for label in labels]
    repeated = [text for text, count in Counter(texts).items() if count > 1]
    if repeated:
        raise DataError(
            f'two labels have the same text "{repeated[0]}"; change prompting.verbalizers or dataset.labels'
        )
    return texts


def answers(rows: Rows, column: str, where: str) -> list[str]:
    """Return each row's answer as a string.

    Raises:
        DataError: a row without an answer (empty cell, None, or -1 in a ClassLabel column).
    """
    texts = [text or None for text in rows.texts(column)]
    missing = [index for index, text in enumerate(texts) if text is None]
    if len(missing) == len(texts):
        raise DataError(f'{where}: the column "{column}" holds no labels; choose a labelled split')
    if missing:
        raise DataError(
            f'{where}: {len(missing)} of {len(texts)} rows have no answer in the column "{column}" '
            f"(first: row {missing[0]}); remove them or choose another split"
        )
    return [text for text in texts if text is not None]


def _names(splits: Splits, column: str) -> list[str] | None:
    for rows in splits.named().values():
        if names := rows.names(column):
            return names
    return None


def _observed(config: ExperimentConfig, splits: Splits) -> list[str]:
    """Return the sorted labels of the train split, else of the test split."""
    source, rows = ("train", splits.train) if splits.train is not None else ("test", splits.test)
    if rows is None:
        raise DataError(f"{config.dataset.path}: no split to take labels from; set dataset.labels")
    if source == "test":
        log.warning(
            "The labels are taken from the test split, since no train split was opened; set dataset.labels to fix them"
        )
    sets = labels_of(rows, config, f"{config.dataset.path} ({source})")
    return sorted({label for row_labels in sets for label in row_labels}, key=_sort_key)


def _sort_key(label: str) -> tuple[int, float, str]:
    """Return a key that sorts numbers by value and then words by letters; "nan" and "inf" are words."""
    with suppress(ValueError):
        if isfinite(value := float(label)):
            return (0, value, label)
    return (1, 0.0, label)


def _check_known(texts: Sequence[str], labels: Sequence[str], role: str, config: ExperimentConfig) -> None:
    unknown = sorted(set(texts) - set(labels))
    if unknown:
        origin = "dataset.labels" if config.dataset.labels else "the labels found"
        raise DataError(
            f'{config.dataset.path}: the {role} split has the label "{unknown[0]}"'
            f"{f' and {len(unknown) - 1} more' if len(unknown) > 1 else ''} unknown to {origin} ({some(labels, 12)}). "
            "Set dataset.labels"
        )
