"""Rows with any number of labels each: what a column says of them. Knows nothing of prompts or models.

A cell is a list of labels (names, texts, integers), or one text in which a separator stands between them. None, an
empty text and an empty list are a row without labels, which is an answer; a split in which no row has one is not
labelled. Within the house a row's labels are one text, a JSON list in the order of the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sft.dataset.cells import cell_text
from sft.dataset.rows import Rows
from sft.errors import DataError


def label_sets(rows: Rows, column: str, separator: str, where: str) -> list[list[str]]:
    """The labels of each row, each once, in the order in which they stand there.

    Raises:
        DataError: no row has a label.
    """
    if rows.is_nested(column):
        names = rows.names(column)
        found = [list(dict.fromkeys(_listed(value, separator, names))) for value in rows.values(column)]
    else:
        found = [list(dict.fromkeys(_separated(text, separator))) for text in rows.texts(column)]
    if not any(found):
        raise DataError(f'{where}: the column "{column}" holds no labels at all; choose a labelled split')
    return found


def _listed(value: Any, separator: str, names: Sequence[str] | None) -> list[str]:
    if not isinstance(value, list | tuple):  # a column of lists may have rows with one string
        return _separated(cell_text(value), separator)
    texts = (_name(one, names) for one in value)
    return [text.strip() for text in texts if text is not None and text.strip()]


def _separated(text: str | None, separator: str) -> list[str]:
    return [part.strip() for part in (text or "").split(separator) if part.strip()]


def _name(value: Any, names: Sequence[str] | None) -> str | None:
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return cell_text(value)
