"""Format predictions as a tab-separated table that spreadsheets, pandas and `csv` read in the same way."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any


def to_tsv(columns: Mapping[str, Sequence[Any]]) -> str:
    """Return a tab-separated table with a header. Fields with tabs, quotes or newlines are quoted as in CSV."""
    rows = [list(columns), *([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))]
    return "".join(map(_line, rows))


def _line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    # A writer quotes only the characters of its own line end. With both, a lone carriage return is quoted too.
    csv.writer(buffer, delimiter="\t", lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
