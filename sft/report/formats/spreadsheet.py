"""The comparison as CSV, for spreadsheets and programs: one line per configuration, all its metrics, full precision.

    name, (one column per varying setting), labelled_examples, finished, planned, recipe_id, baseline, test_rows,
    judged_on, accuracy.mean, accuracy.std, accuracy.best, accuracy.ci_low, …, validation.accuracy.mean

Text from configs and names acts nowhere: what a spreadsheet would take for a formula begins with an apostrophe (OWASP,
"CSV Injection"). Knows nothing of files.
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
    """The rows of the table by RFC 4180 (commas, CRLF), with a header; the columns are those of `row_columns`.

    A value that is not there is an empty cell. Booleans are `true` or `false`.
    """
    header, rows = row_columns(comparison)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([defused(name) for name in header])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def defused(text: str) -> str:
    """Text that no spreadsheet takes for a formula, on one line and in one direction; a plain number stays as it is."""
    flat = plain(text.translate(_SPACES))
    seen = flat.lstrip("".join(sign for sign in set(flat) if sign.isspace() or unicodedata.category(sign) == "Cf"))
    if seen.startswith(tuple(_STARTS_FORMULA)) and not _NUMBER.fullmatch(flat):
        return f"'{flat}"
    return flat


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else defused(str(value))
