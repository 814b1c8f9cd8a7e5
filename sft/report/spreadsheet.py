"""The comparison as CSV, for spreadsheets and programs: one line per configuration, all its metrics, full precision.

    name, (one column per varying setting), labelled_examples, finished, planned,
    accuracy.mean, accuracy.std, accuracy.ci_low, …, validation.accuracy.mean

Text from configs and names acts nowhere: what a spreadsheet would take for a formula begins with an apostrophe (OWASP,
"CSV Injection"). Knows nothing of files.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from sft.config.varying import ABSENT, Setting, settings, show
from sft.report.comparison import Comparison, Row

_FIGURES = ("mean", "std", "ci_low", "ci_high", "difference", "p_value", "p_holm", "tied_with_best")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_STARTS_FORMULA = "=+-@＝＋－＠﹢﹣﹦﹫−"  # noqa: RUF001 - the full-width and small forms are read as the plain ones
_SPACES = dict.fromkeys([*range(32), *range(127, 160), 0x2028, 0x2029], " ")


def render_csv(comparison: Comparison) -> str:
    """The rows of the table by RFC 4180 (commas, CRLF), with a header.

    A value that is not there is an empty cell. `tied_with_best` is `true` or `false`; `labelled_examples_max` is a
    column only where the runs of some row differ in it.
    """
    metrics = {split: _metrics(comparison, split) for split in ("test", "validation")}
    ranges = any(len(set(row.labelled)) > 1 for row in comparison.rows)
    ours = ["name", "labelled_examples", *(["labelled_examples_max"] if ranges else []), "finished", "planned"]
    header = [ours[0], *_setting_names(comparison.settings, ours), *ours[1:]]
    header += [f"{metric}.{figure}" for metric in metrics["test"] for figure in _FIGURES]
    header += [f"validation.{metric}.{figure}" for metric in metrics["validation"] for figure in ("mean", "std")]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([defused(name) for name in header])
    for index, row in enumerate(comparison.rows):
        cells: list[Any] = [row.name, *(_setting(row, one, index) for one in comparison.settings)]
        cells += [*_labelled(row, ranges), row.finished, len(row.runs)]
        cells += [cell for metric in metrics["test"] for cell in _test(comparison, index, metric)]
        cells += [cell for metric in metrics["validation"] for cell in _validation(row, metric)]
        writer.writerow([_cell(cell) for cell in cells])
    return text.getvalue()


def defused(text: str) -> str:
    """Text that no spreadsheet takes for a formula, on one line; what is a plain number stays as it is."""
    flat = text.translate(_SPACES)
    seen = flat.lstrip("".join(sign for sign in set(flat) if sign.isspace() or unicodedata.category(sign) == "Cf"))
    if seen.startswith(tuple(_STARTS_FORMULA)) and not _NUMBER.fullmatch(flat):
        return f"'{flat}"
    return flat


def _metrics(comparison: Comparison, split: str) -> list[str]:
    """Those that some row has, the shown ones first."""
    there = dict.fromkeys(key for row in comparison.rows for key in row.metrics(split))
    return [
        *(key for key in comparison.metrics if key in there),
        *(key for key in there if key not in comparison.metrics),
    ]


def _setting_names(shown: Sequence[Setting], taken: Sequence[str]) -> Iterator[str]:
    for one in shown:
        yield one.key if one.name in taken else one.name


def _setting(row: Row, setting: Setting, index: int) -> Any:
    """The value of a setting: a number in full where the table rounds one."""
    said = setting.values[index]
    value = settings(row.runs[0].config).get(setting.key)
    if isinstance(value, int | float) and not isinstance(value, bool) and show(setting.key, value) == said:
        return value
    return "" if said == ABSENT else said


def _labelled(row: Row, ranges: bool) -> list[Any]:
    """Labelled examples; the fewest and the most where the runs of some row differ."""
    if not row.labelled:
        return [None] * (1 + ranges)
    return [min(row.labelled), *([max(row.labelled)] if ranges else [])]


def _test(comparison: Comparison, index: int, metric: str) -> list[Any]:
    """The cells of a metric, in the order of `_FIGURES`."""
    found = comparison.rows[index].estimate(metric)
    judgement = comparison.judgement(index, metric)
    interval, contrast = judgement.interval, judgement.contrast
    return [
        *((None, None) if found is None else (found.mean, found.std)),
        *((None, None) if interval is None else (interval.low, interval.high)),
        _difference(comparison, index, metric) if contrast is None else contrast.difference,
        *((None, None) if contrast is None else (contrast.p_value, contrast.p_holm)),
        judgement.tied_with_best,
    ]


def _difference(comparison: Comparison, index: int, metric: str) -> float | None:
    """The mean's to the baseline's, where no test was made of it; None between rows judged on different data."""
    place = comparison.baseline_of(index)
    if place is None:
        return None
    baseline, row = comparison.rows[place], comparison.rows[index]
    base, mine = baseline.estimate(metric), row.estimate(metric)
    if base is None or mine is None or len(baseline.judged_rows() | row.judged_rows()) > 1:
        return None
    return mine.mean - base.mean


def _validation(row: Row, metric: str) -> list[Any]:
    found = row.estimate(metric, "validation")
    return [None, None] if found is None else [found.mean, found.std]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else defused(str(value))
