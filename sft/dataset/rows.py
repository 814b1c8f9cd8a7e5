"""A table of rows with cells as strings. Wraps a `datasets.Dataset`, so that large tables stay on disk.

Columns of text files (csv, json) are strings. A column with a list or an object in any cell is `nested`: all its cells
are JSON. Columns of typed files (parquet, arrow) keep their types. `texts` is the same for both: see
`sft.dataset.cells` for the rule.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sft.dataset.cells import cell_text, nested_text, parse_cells
from sft.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

_NARROW_FLOATS = {"float16": np.float16, "float32": np.float32, "halffloat": np.float16}


class Rows:
    """Rows of one split.

    Args:
        table: the rows as a `datasets.Dataset`.
        nested: columns of strings that hold JSON.
        gaps: columns that are missing in a row of the file, with the error message to raise if they are needed.
    """

    def __init__(self, table: Dataset, nested: Iterable[str] = (), gaps: Mapping[str, str] | None = None) -> None:
        self.table = table
        self.nested = frozenset(nested)
        self.gaps = dict(gaps or {})

    def __len__(self) -> int:
        return len(self.table)

    @property
    def column_names(self) -> list[str]:
        """The columns, in the order of the file."""
        return list(self.table.column_names)

    def select(self, indices: Sequence[int] | range) -> Rows:
        """Return the rows with these indices, in this order."""
        return Rows(self.table.select(indices), self.nested, self.gaps)

    def texts(self, column: str) -> list[str | None]:
        """Return each cell of a column as a string; None if it is absent. Lists and objects are JSON."""
        kind = self.kind(column)
        if kind != "text" and not self.is_nested(column):
            return [f"({kind})"] * len(self)  # not decoded: an image would be read from disk in vain
        return list(map(self._as_text(column), self.table[column][:]))

    def _as_text(self, column: str) -> Callable[[Any], str | None]:
        feature = self.table.features[column]
        if names := getattr(feature, "names", None):
            return lambda value: names[value] if value is not None and 0 <= value < len(names) else None
        if (narrow := _NARROW_FLOATS.get(getattr(feature, "dtype", ""))) is not None:
            return lambda value: None if value is None else cell_text(narrow(value))
        return cell_text

    def with_texts(self, column: str, texts: Sequence[str | None]) -> Rows:
        """Return the same rows with new strings in one column."""
        columns = {name: texts if name == column else self.table[name][:] for name in self.column_names}
        return Rows(_dataset(columns, column), self.nested, self.gaps)

    def values(self, column: str) -> list[Any]:
        """Return the cells of a column: strings, lists, objects, or values of a typed file."""
        values = list(self.table[column][:])
        if column in self.nested:
            return [None if value is None else parse_cells(value) for value in values]
        return values

    def is_nested(self, column: str) -> bool:
        """Whether the cells of a column are lists or objects."""
        return self.kind(column) in ("lists", "objects")

    def kind(self, column: str) -> str:
        """Return the kind of a column: `text` (numbers and dates included), `lists`, `objects`, `bytes`, `images`, …"""
        from datasets import ClassLabel, Value

        if column in self.nested:
            return self._kind_of_json(column)
        feature = self.table.features[column]
        if isinstance(feature, Value):
            return "bytes" if "binary" in feature.dtype else "text"
        if isinstance(feature, ClassLabel):
            return "text"
        if isinstance(feature, dict):
            return "objects"
        name = type(feature).__name__
        return {"List": "lists", "LargeList": "lists", "Sequence": "lists", "Json": "objects"}.get(
            name, f"{name.lower()}s"
        )

    def _kind_of_json(self, column: str) -> str:
        first = next((cell for cell in self.table[column] if cell is not None and cell[:1] in "[{"), "[")
        return "lists" if first.startswith("[") else "objects"

    def names(self, column: str) -> list[str] | None:
        """Return the names of a column of ClassLabels, or of lists of them; None for other columns."""
        feature = self.table.features.get(column)
        names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
        return list(names) if names else None


class RowBuilder:
    """Collects rows cell by cell; a column may first appear in any row."""

    def __init__(self) -> None:
        self._columns: dict[str, list[str | None]] = {}
        self._nested: dict[str, set[int]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def declare(self, columns: Iterable[str]) -> None:
        """Add columns without cells, for a file without rows."""
        for name in columns:
            self._columns.setdefault(name, [None] * self._count)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row, as values by column. A missing column is absent in this row."""
        for name, value in row.items():
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = [None] * self._count
            if isinstance(value, dict | list | tuple):
                self._nested.setdefault(name, set()).add(self._count)
            column.append(cell_text(value))
        self._count += 1
        if len(row) < len(self._columns):
            for column in self._columns.values():
                if len(column) < self._count:
                    column.append(None)

    def rows(self, where: str, gaps: Mapping[str, str] | None = None) -> Rows:
        """Return all rows.

        Args:
            where: the file, for the message.
            gaps: as in `Rows`.

        Raises:
            DataError: a cell holds half of a surrogate pair, which no text file can hold.
        """
        for name, nested_rows in self._nested.items():
            column = self._columns[name]
            for index, cell in enumerate(column):
                if index not in nested_rows and cell is not None:
                    column[index] = json.dumps(cell, ensure_ascii=False)
        return Rows(_dataset(self._columns, where), self._nested, gaps)


def _dataset(columns: Mapping[str, Sequence[str | None]], where: str) -> Dataset:
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    arrays = {}
    for name, cells in columns.items():
        try:
            arrays[name] = pa.array(cells, pa.large_string())
        except UnicodeEncodeError:
            row = next(index for index, cell in enumerate(cells) if cell is not None and _is_broken(cell))
            raise DataError(
                f'{where}: row {row}, column "{name}" holds half of a surrogate pair (\\ud800 to \\udfff alone), '
                "which is not a character; remove it"
            ) from None
    # The fingerprint names caches of `map`, which is not used here. Without it, `datasets` would hash all rows.
    return Dataset(InMemoryTable(pa.table(arrays)), fingerprint="0" * 16)


def _is_broken(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def concatenated(parts: Sequence[Rows], where: str) -> Rows:
    """Return the concatenated rows of all parts; a column that a part lacks is absent in its rows."""
    from datasets import concatenate_datasets

    if len(parts) == 1:
        return parts[0]
    first, gaps = parts[0], {name: line for part in reversed(parts) for name, line in part.gaps.items()}
    if all(part.table.features == first.table.features and part.nested == first.nested for part in parts):
        return Rows(concatenate_datasets([part.table for part in parts]), first.nested, gaps)
    builder = RowBuilder()
    for part in parts:
        columns = [part.values(name) if part.is_nested(name) else part.texts(name) for name in part.column_names]
        for cells in zip(*columns, strict=True):
            builder.add(dict(zip(part.column_names, cells, strict=True)))
    return builder.rows(where, gaps)


__all__ = ["RowBuilder", "Rows", "concatenated", "nested_text"]
