"""Rows with any number of labels each: what a column says of them. Knows nothing of prompts or models.

A cell is a list of labels (names, texts, integers), or one text in which a separator stands between them. None, an
empty text and an empty list are a row without labels, which is an answer; a split in which no row has one is not
labelled. Within the house a row's labels are one text, a JSON list in the order of the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sft.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


def label_sets(rows: Dataset, column: str, separator: str, where: str) -> list[list[str]]:
    """The labels of each row, each once, in the order in which they stand there.

    Raises:
        DataError: no row has a label.
    """
    names = set_names(rows, column)
    found = [list(dict.fromkeys(_labels(value, separator, names))) for value in rows[column][:]]
    if not any(found):
        raise DataError(f'{where}: the column "{column}" holds no labels at all; choose a labelled split')
    return found


def set_names(rows: Dataset, column: str) -> list[str] | None:
    """The ClassLabel names of a column of lists, where it has them."""
    names = getattr(getattr(rows.features.get(column), "feature", None), "names", None)
    return list(names) if names else None


def _labels(value: Any, separator: str, names: Sequence[str] | None) -> list[str]:
    if value is None or value != value:  # NaN: an empty cell in a numeric column
        return []
    if isinstance(value, str):
        return [part.strip() for part in value.split(separator) if part.strip()]
    if not isinstance(value, list | tuple):
        return [_name(value, names)]
    return [_name(one, names) for one in value if one is not None and str(one).strip()]


def _name(value: Any, names: Sequence[str] | None) -> str:
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
