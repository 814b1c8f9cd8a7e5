"""JSON and JSON Lines files to rows: a string does not change, a number keeps its characters.

A file may hold an object or a list on each line; a list of objects; a list of lists, with columns named by
`dataset.columns`; an object with a list for each column; or an object of splits, each in one of these forms. The
content decides, not the suffix: many .json files hold a row on each line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sft.dataset.cells import parse_cells
from sft.dataset.reading.files import DataFile, open_text
from sft.dataset.rows import RowBuilder, Rows
from sft.errors import DataError

_FORMS = "expected a list of objects, an object on each line, or an object of splits"


def read_json(file: DataFile, args: Mapping[str, Any], columns: Sequence[str] | None = None) -> Rows | dict[str, Rows]:
    """Read a JSON or JSON Lines file; return a dictionary of splits if the file holds several.

    Args:
        file: the file.
        args: `encoding`, `encoding_errors`, and `field`, the key that holds the rows.
        columns: names of the columns if rows are lists.

    Raises:
        DataError: the file is not JSON or holds no rows.
    """
    with open_text(file, args.get("encoding"), args.get("encoding_errors")) as text:
        content = text.read()
    values = _on_lines(content, file)
    if values is not None and args.get("field") is None:
        return _rows(values, columns, file.shown, lines=True)
    value = _whole(content, file)
    if (field := args.get("field")) is not None:
        value = _field(value, str(field), file)
    return _of_document(value, columns, file)


def _on_lines(content: str, file: DataFile) -> list[Any] | None:
    """Return the value of each line; None if the file is one document."""
    lines = [(number, line) for number, line in enumerate(_split(content), 1) if line.strip()]
    if not lines:
        raise DataError(f"{file.shown} is empty: it has no rows")
    try:
        first = parse_cells(lines[0][1])
    except ValueError:
        if file.form != ".jsonl" or lines[0][1].strip()[0] == "[":
            return None  # a document over several lines
        first = None  # the line is reported below
    if len(lines) == 1 and not (file.form == ".jsonl" and isinstance(first, dict)):
        return None
    return [_parsed(line, f"{file.shown} line {number}") for number, line in lines]


def _split(content: str) -> Iterator[str]:
    # Not splitlines(): a string may hold U+2028, form feeds and other characters that Python treats as line ends.
    return iter(content.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


def _parsed(text: str, where: str) -> Any:
    try:
        return parse_cells(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON: {error.msg} at character {error.pos + 1}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {error}") from error


def _whole(content: str, file: DataFile) -> Any:
    try:
        return parse_cells(content)
    except json.JSONDecodeError as error:
        if "Extra data" in error.msg and (values := _concatenated_values(content)) is not None:
            return values
        where = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{file.shown}: not JSON: {error.msg} at {where}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file.shown}: {error}") from error


def _concatenated_values(content: str) -> list[Any] | None:
    """Return the values of concatenated JSON, each over several lines; None if not all of it is JSON."""
    from sft.dataset.cells import PARSING

    decoder = json.JSONDecoder(**PARSING)
    values, position = [], 0
    while position < len(content):
        try:
            value, position = decoder.raw_decode(content, position)
        except ValueError:
            return None
        values.append(value)
        while position < len(content) and content[position].isspace():
            position += 1
    return values


def _field(value: Any, field: str, file: DataFile) -> Any:
    if not isinstance(value, dict) or field not in value:
        keys = ", ".join(list(value)[:12]) if isinstance(value, dict) else "no object"
        raise DataError(f'{file.shown} has no key "{field}" (dataset.args.field; it has: {keys})')
    return value[field]


def _of_document(value: Any, columns: Sequence[str] | None, file: DataFile) -> Rows | dict[str, Rows]:
    if isinstance(value, list):
        return _rows(value, columns, file.shown)
    if not isinstance(value, dict):
        raise DataError(f"{file.shown}: {_FORMS}, got {_kind(value)}")
    if _are_columns(value):
        return _rows(_transposed(value), None, file.shown)
    if value and all(isinstance(rows, list) or _are_columns(rows) for rows in value.values()):
        return {
            name: _rows(_transposed(rows) if isinstance(rows, dict) else rows, columns, f'{file.shown}, split "{name}"')
            for name, rows in value.items()
        }
    if any(isinstance(item, list | dict) for item in value.values()):
        keys = ", ".join(f"{name} ({_kind(item)})" for name, item in list(value.items())[:8])
        raise DataError(
            f"{file.shown}: {_FORMS}, got an object with {keys}; name the key that holds the rows, for example "
            'dataset.args {"field": "data"}'
        )
    return _rows([value], columns, file.shown)


def _are_columns(value: Any) -> bool:
    """Whether an object is a table by columns: lists of equal length, without nested rows."""
    if not isinstance(value, dict) or not all(isinstance(cells, list) for cells in value.values()):
        return False
    lengths = {len(cells) for cells in value.values()}
    return len(lengths) == 1 and not any(isinstance(cell, dict | list) for cells in value.values() for cell in cells)


def _transposed(value: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Return the rows of a table by columns."""
    return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]


def _rows(values: Sequence[Any], columns: Sequence[str] | None, where: str, lines: bool = False) -> Rows:
    builder = RowBuilder()
    for number, value in enumerate(values, 1):
        builder.add(_row(value, columns, f"{where} {'line' if lines else 'row'} {number}"))
    if columns is not None and not len(builder):
        builder.declare(columns)
    return builder.rows(where)


def _row(value: Any, columns: Sequence[str] | None, where: str) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    if not isinstance(value, list):
        raise DataError(f"{where}: expected an object or a list, got {_kind(value)}")
    if columns is None:
        raise DataError(f'{where} is a list; name its cells: dataset.columns ["text", "label"]')
    if len(value) != len(columns):
        raise DataError(f"{where}: expected {len(columns)} cells (dataset.columns), got {len(value)}")
    return dict(zip(columns, value, strict=True))


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return {dict: "an object", bool: "a boolean", type(None): "null", str: "a string"}.get(type(value), "a number")
