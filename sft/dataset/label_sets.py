"""Rows with any number of labels each: the labels of a column's cells. Uses no prompts or models.

A cell is a list of labels (names, strings, integers), or one string with a separator between labels. None, an empty
string and an empty list are a row without labels, which is a valid answer. A split without any label is unlabelled.
Other modules hold a row's labels as one string: a JSON list in the order of the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sft.dataset.cells import cell_text
from sft.dataset.rows import Rows
from sft.errors import DataError


def label_sets(rows: Rows, column: str, separator: str, where: str) -> list[list[str]]:
    """Return the labels of each row without duplicates, in the order of the cell.

    Raises:
        DataError: no row has a label.
    """
    if rows.is_nested(column):
        names = rows.names(column)
        sets = [list(dict.fromkeys(_listed(value, separator, names))) for value in rows.values(column)]
    else:
        sets = [list(dict.fromkeys(_separated(text, separator))) for text in rows.texts(column)]
    if not any(sets):
        raise DataError(f'{where}: the column "{column}" holds no labels; choose a labelled split')
    return sets


def _listed(value: Any, separator: str, names: Sequence[str] | None) -> list[str]:
    if not isinstance(value, list | tuple):  # a column of lists may have rows with one string
        return _separated(cell_text(value), separator)
    texts = (_name(item, names) for item in value)
    return [text.strip() for text in texts if text is not None and text.strip()]


def _separated(text: str | None, separator: str) -> list[str]:
    return [part.strip() for part in (text or "").split(separator) if part.strip()]


def _name(value: Any, names: Sequence[str] | None) -> str | None:
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return cell_text(value)
