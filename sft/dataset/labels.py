"""Labels: which there are, in which order, and each row's label as text. Knows nothing of prompts or models.

A label's text is the ClassLabel name, or the text of the cell (see `sft.dataset.cells`).
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
    """The labels, in the order of the score columns.

    `dataset.labels` if given; else the ClassLabel names; else the sorted labels of the train split; else, with a
    warning, those of the test split.

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
            f'{config.dataset.path}: column "{column}" has {len(labels):,} labels, at most {MOST_LABELS:,} can '
            'be scored; choose another prompting.output_column, or set dataset.task_type to "generation"'
        )
    for role, rows in splits.named().items():
        found = labels_of(rows, config, f"{config.dataset.path} ({role})")
        _check_known([label for those in found for label in those], labels, role, config)
    if all(label.lstrip("-").isdigit() for label in labels) and config.prompting.verbalizers is None:
        log.warning(
            "The labels are bare numbers (%s): give the model words for them with prompting.verbalizers",
            ", ".join(labels[:5]),
        )
    return tuple(labels)


def labels_of(rows: Rows, config: ExperimentConfig, where: str) -> list[list[str]]:
    """Each row's labels: one for classification, any number for multilabel.

    Raises:
        DataError: a row without the one label, or no row with any.
    """
    column = config.prompting.output_column
    if config.dataset.task.takes_several:
        return label_sets(rows, column, config.dataset.label_separator, where)
    return [[text] for text in answers(rows, column, where)]


def label_texts(config: ExperimentConfig, labels: Sequence[str]) -> list[str]:
    """What the model reads and writes for each label: its verbalizer, else the label itself.

    Raises:
        DataError: a verbalizer for a label that is not there, a label without one, or two labels with the same text.
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
        raise DataError(f'two labels have the same text "{repeated[0]}": mend prompting.verbalizers or dataset.labels')
    return texts


def answers(rows: Rows, column: str, where: str) -> list[str]:
    """Each row's answer as text.

    Raises:
        DataError: an answer is missing (empty cell, None, or -1 in a ClassLabel column).
    """
    texts = [text or None for text in rows.texts(column)]
    missing = [index for index, text in enumerate(texts) if text is None]
    if len(missing) == len(texts):
        raise DataError(f'{where}: the column "{column}" holds no labels at all; choose a labelled split')
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
    """The sorted labels of the train split, else of the test split."""
    source, rows = ("train", splits.train) if splits.train is not None else ("test", splits.test)
    if rows is None:
        raise DataError(f"{config.dataset.path}: no split to take labels from; set dataset.labels")
    if source == "test":
        log.warning(
            "The labels are taken from the test split, since no train split was opened: set dataset.labels to be sure"
        )
    found = labels_of(rows, config, f"{config.dataset.path} ({source})")
    return sorted({label for those in found for label in those}, key=_sort_key)


def _sort_key(label: str) -> tuple[int, float, str]:
    """Numbers by value, before words by letters; "nan" and "inf" are words."""
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
