"""The comparison as CSV, for spreadsheets and programs: one line per configuration, all its metrics, full precision.

The columns are those of `sft.report.formats.columns.row_columns`. Text from configs and names is never run: text that
a spreadsheet would take for a formula gets an apostrophe in front (OWASP, "CSV Injection").
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from typing import Any

from sft.log import plain
from sft.report.comparison import Comparison
from sft.report.formats.columns import row_columns

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_STARTS_FORMULA = "=+-@＝＋－＠﹢﹣﹦﹫−"  # noqa: RUF001 - the full-width and small forms are read as the plain ones
_SPACES = dict.fromkeys([*range(32), *range(127, 160), 0x2028, 0x2029], " ")


def render_csv(comparison: Comparison) -> str:
    """Return the rows of the table as RFC 4180 defines CSV (commas, CRLF), with a header.

    An unknown value is an empty cell. Booleans are `true` or `false`.
    """
    header, rows = row_columns(comparison)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([defused(name) for name in header])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def defused(text: str) -> str:
    """Return text that no spreadsheet takes for a formula, on one line and in one direction. Numbers do not change."""
    flat = plain(text.translate(_SPACES))
    ignored = "".join(char for char in set(flat) if char.isspace() or unicodedata.category(char) == "Cf")
    seen = flat.lstrip(ignored)
    if seen.startswith(tuple(_STARTS_FORMULA)) and not _NUMBER.fullmatch(flat):
        return f"'{flat}"
    return flat


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else defused(str(value))
