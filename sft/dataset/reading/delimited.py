"""CSV and TSV files to rows, with Python's `csv`: every cell is the string between the delimiters.

The arguments are those of `pandas.read_csv`, which `datasets` passes on. Arguments that convert strings to types have
no effect. pandas reads files that `csv` cannot (comments, footers, delimiters of several characters), as strings only.

Tab-delimited files have no quoting unless the arguments set it: a quote is an ordinary character. In CSV an unpaired
quote would silently join rows, so such files are refused; the error names the line.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from sft.dataset.reading.files import DataFile, open_text
from sft.dataset.rows import RowBuilder, Rows
from sft.errors import DataError
from sft.log import get_logger

log = get_logger(__name__)

# Values that are absent by default in pandas, if `keep_default_na` is true.
_ABSENT = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
# Arguments that `csv` does not support: if one is set, pandas reads the file.
_ONLY_PANDAS = ("index_col", "comment", "dialect", "lineterminator", "skipfooter", "prefix", "converters")
_QUOTES_ARE_TEXT = 'if quotes are ordinary characters in this file, set dataset.args {"quoting": 3}'


@dataclass
class _Anomalies:
    """Anomalies of a file, reported once it is read."""

    name: str
    gaps: dict[str, str] = field(default_factory=dict)
    skipped: list[int] = field(default_factory=list)
    joined: list[int] = field(default_factory=list)
    quoted: list[int] = field(default_factory=list)

    def report(self) -> None:
        """Log one warning for each kind."""
        for lines, description in (
            (self.skipped, "skipped (on_bad_lines)"),
            (
                self.joined,
                f"with a cell that holds a line break and the delimiter; {_QUOTES_ARE_TEXT}",
            ),
            (
                self.quoted,
                'with a cell in quotes, kept as it is since TSV has no quoting; set dataset.args {"quoting": 0} to '
                "read them as in CSV",
            ),
        ):
            if lines:
                log.warning("%s: %d rows (first: line %d) %s", self.name, len(lines), lines[0], description)


class _Arguments:
    """The arguments for one file, with pandas' defaults except for absent values and TSV."""

    def __init__(self, args: Mapping[str, Any], columns: Sequence[str] | None, file: DataFile) -> None:
        self.args = args
        self.columns = columns
        self.delimiter = str(args.get("delimiter") or args.get("sep") or ("\t" if file.form == ".tsv" else ","))
        tabs = self.delimiter == "\t"
        self.quoting = int(args.get("quoting", csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL))
        self.names: Sequence[str] | None = args.get("column_names") or args.get("names") or columns
        header = args.get("header", "infer")
        # As in pandas: names without a header argument mean that the file has no header.
        self.has_header = self.names is None if header == "infer" else header is not None
        self.bad_lines = args.get("on_bad_lines", "error")
        self.only_pandas = (
            len(self.delimiter) != 1
            or any(args.get(name) for name in _ONLY_PANDAS)
            or header not in ("infer", None, 0)
            or not isinstance(args.get("skiprows") or 0, int)
        )
        self.absent = self._absent()

    def _absent(self) -> frozenset[str]:
        if self.args.get("na_filter") is False:
            return frozenset()
        extra = self.args.get("na_values")
        values = [extra] if isinstance(extra, str | int | float) else extra if isinstance(extra, list) else []
        return frozenset([*map(str, values), *(_ABSENT if self.args.get("keep_default_na") else ())])

    def format(self) -> dict[str, Any]:
        """Return the arguments of `csv.reader`."""
        return {
            "delimiter": self.delimiter,
            "quoting": min(self.quoting, csv.QUOTE_NONE),  # larger values concern writers and types only
            "quotechar": self.args.get("quotechar") or '"',
            "escapechar": self.args.get("escapechar"),
            "doublequote": self.args.get("doublequote", True),
            "skipinitialspace": self.args.get("skipinitialspace", False),
            "strict": True,
        }


def read_delimited(file: DataFile, args: Mapping[str, Any], columns: Sequence[str] | None = None) -> Rows:
    """Read a CSV or TSV file.

    Args:
        file: the file.
        args: the user's arguments, named as in pandas.
        columns: names of the columns if the file has no header.

    Raises:
        DataError: a row that does not fit the header, unpaired quotes, or two columns with the same name.
    """
    arguments = _Arguments(args, columns, file)
    if arguments.only_pandas:
        return _read_by_pandas(file, arguments)
    csv.field_size_limit(sys.maxsize)  # a cell may be longer than the 131,072 characters that `csv` allows by default
    builder, anomalies = RowBuilder(), _Anomalies(file.shown)
    with open_text(file, args.get("encoding"), args.get("encoding_errors")) as text:
        records = _records(text, arguments, file.shown)
        header = _header(records, arguments, file.shown)
        for number, (line, cells) in enumerate(records):
            if number == args.get("nrows"):
                break
            if (fitted := _fitted(cells, header, line, arguments, anomalies)) is not None:
                builder.add(_chosen(fitted, args.get("usecols"), header))
    anomalies.report()
    if not len(builder):
        builder.declare(_chosen(dict.fromkeys(header), args.get("usecols"), header))
    return builder.rows(file.shown, anomalies.gaps)


def _records(text: TextIO, arguments: _Arguments, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the line it starts on, counted from 1, without blank lines."""
    skipped = int(arguments.args.get("skiprows") or 0)
    lines: Iterable[str] = text
    for _ in range(skipped):
        next(iter(lines), None)
    reader = csv.reader(lines, **arguments.format())
    start = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(_not_paired(name, start + skipped, str(error))) from error
        if cells is None:
            return
        if cells or not arguments.args.get("skip_blank_lines", True):
            yield start + skipped, cells or [""]
        start = reader.line_num + 1


def _not_paired(name: str, line: int, error: str) -> str:
    if "unexpected end of data" in error:
        return f"{name} line {line}: the quote that opens a cell is never closed; close it, or {_QUOTES_ARE_TEXT}"
    if "expected after" in error:
        description = "a cell continues after its closing quote; double the quotes inside it"
        return f"{name} line {line}: {description}, or {_QUOTES_ARE_TEXT}"
    return f"{name} line {line}: {error}"


def _header(records: Iterator[tuple[int, list[str]]], arguments: _Arguments, name: str) -> list[str]:
    """Return the names of the columns, and consume the header line if there is one."""
    first = next(records, None) if arguments.has_header else None
    if arguments.names is not None:
        header = list(map(str, arguments.names))
    elif not arguments.has_header:
        raise DataError(f'{name} has no header; name its columns: dataset.columns ["text", "label"]')
    elif first is None:
        raise DataError(f"{name} is empty: it has no rows")
    else:
        # pandas' names for columns without a name, such as one after a delimiter at the end of every line.
        header = [cell or f"Unnamed: {index}" for index, cell in enumerate(first[1])]
    if repeated := next((cell for cell in header if header.count(cell) > 1), None):
        raise DataError(f'{name} has two columns "{repeated}"; rename one of them')
    return header


def _fitted(
    cells: list[str], header: Sequence[str], line: int, arguments: _Arguments, anomalies: _Anomalies
) -> dict[str, str | None] | None:
    """Return a row by column name; None for a row that the user wants to skip."""
    if len(cells) > len(header):
        if any(cells[len(header) :]):
            if arguments.bad_lines in ("skip", "warn"):
                anomalies.skipped.append(line)
                return None
            raise DataError(_wrong_width(cells, header, line, arguments, anomalies.name))
        cells = cells[: len(header)]
    if len(cells) < len(header):
        if arguments.bad_lines in ("skip", "warn"):
            anomalies.skipped.append(line)
            return None
        for name in header[len(cells) :]:
            anomalies.gaps.setdefault(name, _wrong_width(cells, header, line, arguments, anomalies.name))
    if any(arguments.delimiter in cell and ("\n" in cell or "\r" in cell) for cell in cells):
        anomalies.joined.append(line)
    if arguments.quoting == csv.QUOTE_NONE and "quoting" not in arguments.args and any(map(_looks_quoted, cells)):
        anomalies.quoted.append(line)
    values: list[str | None] = [None if cell in arguments.absent else cell for cell in cells]
    return dict(zip(header, [*values, *([None] * (len(header) - len(values)))], strict=True))


def _looks_quoted(cell: str) -> bool:
    inner = cell[1:-1]
    return len(cell) > 3 and cell[0] == cell[-1] == '"' and '""' in inner and '"' not in inner.replace('""', "")


def _wrong_width(cells: list[str], header: Sequence[str], line: int, arguments: _Arguments, name: str) -> str:
    shown = ", ".join(f'"{cell if len(cell) <= 40 else cell[:40] + "…"}"' for cell in cells[:8])
    quoted = arguments.quoting != csv.QUOTE_NONE
    remedy = (
        'quote cells that hold the delimiter, or skip such rows with dataset.args {"on_bad_lines": "skip"}'
        if quoted and len(cells) > len(header)
        else 'correct the row, or skip such rows with dataset.args {"on_bad_lines": "skip"}'
        if quoted
        else 'correct the row, or set dataset.args {"quoting": 0} if cells are quoted as in CSV'
    )
    expected = f"expected {len(header)} cells ({', '.join(header[:8])})"
    return f"{name} line {line}: {expected}, got {len(cells)}: {shown}; {remedy}"


def _chosen(row: dict[str, str | None], usecols: Any, header: Sequence[str]) -> dict[str, str | None]:
    """Return the columns of `usecols` (names or indices); all columns without it."""
    if not isinstance(usecols, list):
        return row
    names = [header[column] if isinstance(column, int) and column < len(header) else str(column) for column in usecols]
    return {name: value for name, value in row.items() if name in names}


def _read_by_pandas(file: DataFile, arguments: _Arguments) -> Rows:
    import pandas as pd

    types = ("dtype", "true_values", "false_values", "thousands", "decimal", "float_precision", "date_format")
    ours = ("column_names", "delimiter", "names", "prefix", "mangle_dupe_cols", "error_bad_lines", "warn_bad_lines")
    known = {
        key: value
        for key, value in arguments.args.items()
        if key not in (*types, *ours, "chunksize", "features", "verbose", "encoding", "encoding_errors")
    }
    known = {"index_col": False, "keep_default_na": False, "quoting": arguments.quoting, **known}
    with open_text(file, arguments.args.get("encoding"), arguments.args.get("encoding_errors")) as text:
        frame = pd.read_csv(text, **{**known, "sep": arguments.delimiter, "names": arguments.names, "dtype": str})
    builder = RowBuilder()
    for cells in frame.itertuples(index=False, name=None):
        builder.add(
            dict(zip(map(str, frame.columns), (None if pd.isna(cell) else cell for cell in cells), strict=True))
        )
    return builder.rows(file.shown)
