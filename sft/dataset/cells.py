"""The one rule that converts a value to a string, for prompts, labels, in-context search, probes, metrics and tables.

A string does not change. Booleans and numbers are written as in JSON (`true`, `false`); null is an absent value. A
number from a text file keeps its characters (`Number`). A number from a typed file (parquet, arrow) becomes the
shortest string that reads back as the same number. It has no `.0`, since a column of integers with a gap is stored as
floats. This module uses no files or columns.
"""

from __future__ import annotations

import json
from typing import Any


class Number(str):
    """A number with the characters of the file: `1.10`, `1e5`, `007`."""

    __slots__ = ()


def cell_text(value: Any) -> str | None:
    """Return a value as a string; None if it is absent (null, NaN)."""
    if value is None:
        return None
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"({len(value)} bytes)"
    if isinstance(value, dict | list | tuple):
        return nested_text(value)
    return _scalar_text(value)


def _scalar_text(value: Any) -> str | None:
    """Return a boolean, a number or a date as a string, also of numpy's types."""
    item = value.item() if type(value).__module__ == "numpy" else value
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, float):
        if item != item:
            return None
        # str(value), not str(item): the shortest string of a float32 differs from that of the equal float64.
        return str(int(item)) if item.is_integer() and abs(item) < 2**53 else str(value)
    return str(item)


def nested_text(value: Any) -> str:
    """Return a list or an object as JSON; numbers keep their characters."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(str(key))}: {nested_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(nested_text, value)) + "]"
    if value is None:
        return "null"
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, bool | int | float):
        return _scalar_text(value) or "null"
    return _quoted(cell_text(value) or "")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def parse_cells(text: str) -> Any:
    """Parse JSON from a data file: numbers keep their characters, NaN is null.

    Raises:
        ValueError: a duplicate key; a `json.JSONDecodeError` if the text is not JSON.
    """
    return json.loads(text, **PARSING)


def _constant(name: str) -> str | None:
    return None if name == "NaN" else name


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f'duplicate key "{next(key for key in keys if keys.count(key) > 1)}" in one object')
    return value


PARSING: dict[str, Any] = {
    "parse_int": Number,
    "parse_float": Number,
    "parse_constant": _constant,
    "object_pairs_hook": _object,
}
