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
from collections.abc import Iterator, Sequence
from typing import Any

from sft.config.varying import ABSENT, Setting, settings, short_name, show
from sft.io import canonical_json, digest
from sft.log import plain
from sft.report.comparison import Comparison, Row
from sft.report.formats.values import VALUES, values_of

_JUDGED_ON_DIGITS = 12
_TAKEN = ("asked", "fewest", "most")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_STARTS_FORMULA = "=+-@＝＋－＠﹢﹣﹦﹫−"  # noqa: RUF001 - the full-width and small forms are read as the plain ones
_SPACES = dict.fromkeys([*range(32), *range(127, 160), 0x2028, 0x2029], " ")


def render_csv(comparison: Comparison) -> str:
    """The rows of the table by RFC 4180 (commas, CRLF), with a header.

    A value that is not there is an empty cell. `best` and `tied_with_best` are `true` or `false`; `baseline` names the
    row that a row is compared with; `judged_on` is equal for rows that were judged on the same data;
    `labelled_examples_max` is a column only where the runs of some row differ in it. Where some row took fewer labelled
    rows than asked for, `shots.asked`, `shots.fewest` and `shots.most` (of a label) are columns; `icl.…` (of a prompt,
    all labels together) and `num_train_samples.…` likewise. `threads` is a column only where runs differ in it.
    """
    metrics = {split: _metrics(comparison, split) for split in ("test", "validation")}
    ranges = any(len(set(row.labelled)) > 1 for row in comparison.rows)
    ours = ["name", "labelled_examples", *(["labelled_examples_max"] if ranges else []), "finished", "planned"]
    ours += ["recipe_id", "baseline", "test_rows", "judged_on", *(["threads"] if len(comparison.threads) > 1 else [])]
    counted = list(dict.fromkeys(key for row in comparison.rows for key, one in row.taken.items() if one.is_short))
    header = [ours[0], *_setting_names(comparison.settings, ours)]
    header += [f"{short_name(key)}.{name}" for key in counted for name in _TAKEN]
    header += ours[1:]
    header += [f"{metric}.{name}" for metric in metrics["test"] for name in VALUES]
    header += [f"validation.{metric}.{figure}" for metric in metrics["validation"] for figure in ("mean", "std")]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([defused(name) for name in header])
    for index, row in enumerate(comparison.rows):
        cells: list[Any] = [row.name, *(_setting(row, one, index) for one in comparison.settings)]
        cells += [cell for key in counted for cell in _taken(row, key)]
        cells += [*_labelled(row, ranges), row.finished, len(row.runs)]
        cells += [None if comparison.grouped else row.runs[0].recipe_id, _baseline(comparison, index), *_judged_on(row)]
        cells += [_threads(row)] if "threads" in ours else []
        cells += [figure for metric in metrics["test"] for figure in _test(comparison, index, metric)]
        cells += [cell for metric in metrics["validation"] for cell in _validation(row, metric)]
        writer.writerow([_cell(cell) for cell in cells])
    return text.getvalue()


def defused(text: str) -> str:
    """Text that no spreadsheet takes for a formula, on one line and in one direction; a plain number stays as it is."""
    flat = plain(text.translate(_SPACES))
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


def _taken(row: Row, key: str) -> list[Any]:
    """How many rows were asked for and taken, in all of a label or a prompt; where that is known."""
    one = row.taken.get(key)
    return [None] * len(_TAKEN) if one is None else [one.asked * one.labels, one.fewest, one.most]


def _labelled(row: Row, ranges: bool) -> list[Any]:
    """Labelled examples; the fewest and the most where the runs of some row differ."""
    if not row.labelled:
        return [None] * (1 + ranges)
    return [min(row.labelled), *([max(row.labelled)] if ranges else [])]


def _baseline(comparison: Comparison, index: int) -> str | None:
    place = comparison.baseline_of(index)
    return None if place is None else comparison.rows[place].name


def _judged_on(row: Row) -> list[Any]:
    """How many test rows, where that is known, and a short text that stands for which."""
    counts = sorted(
        {run.result.rows["test"] for run in row.runs if run.result is not None and "test" in run.result.rows}
    )
    rows = None if not counts else counts[0] if len(counts) == 1 else " or ".join(map(str, counts))
    which = sorted(row.judged_rows())
    return [rows, digest(canonical_json(which), _JUDGED_ON_DIGITS) if which else None]


def _threads(row: Row) -> str:
    """The numbers of threads that its runs computed with: `2`, or `1 or 2`."""
    found = {run.result.threads for run in row.runs if run.result is not None and run.result.threads is not None}
    return " or ".join(map(str, sorted(found)))


def _test(comparison: Comparison, index: int, metric: str) -> list[Any]:
    """The cells of a metric, in the order of `VALUES`."""
    found = values_of(comparison, index, metric)
    return [found[name] for name in VALUES]


def _validation(row: Row, metric: str) -> list[Any]:
    found = row.estimate(metric, "validation")
    return [None, None] if found is None else [found.mean, found.std]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else defused(str(value))
