"""Comparison of two runs as text for a terminal and as JSON. Text from configs and data is sanitized."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sft.io import finite
from sft.log import plain
from sft.report.formats.table import THESE_MODELS, p_value
from sft.report.formats.text import aligned
from sft.report.metrics import number, signed, title
from sft.report.pairs.pair import Answer, Pair, RowPair
from sft.report.pairs.tested import EXACT, FLIPS, Metric
from sft.report.read.runs import Run
from sft.secrets import redact_text, redacted

_WIDEST_ANSWER = 28
_WIDEST_SETTING = 60
_WIDEST_NAME = 40
_NARROWEST_TEXT = 12


def pair_lines(pair: Pair, rows: int, width: int) -> Iterator[str]:
    """Yield the lines of a comparison.

    Args:
        pair: comparison of two runs.
        rows: how many of the rows with different answers are shown.
        width: columns of the terminal.
    """
    yield from (f"{name}  {_called(run)}" for name, run in (("A", pair.a), ("B", pair.b)))
    yield ""
    yield from _settings(pair)
    if pair.metrics:
        yield ""
        yield from _metrics(pair)
    yield ""
    if pair.refused:
        yield f"Not paired row by row: {plain(pair.refused)}."
        return
    if pair.right is not None:
        right = pair.right
        counts = f"both {right.both}, only A {right.only_a}, only B {right.only_b}, neither {right.neither}"
        yield f"Right answers, of {pair.rows} rows: {counts}."
    yield from _rows(pair, rows, width)


def pair_json(pair: Pair) -> str:
    """Return the comparison as one line of JSON in ASCII."""
    content = {
        "split": pair.split,
        **{name: _identity(run) for name, run in (("a", pair.a), ("b", pair.b))},
        "settings": [one._asdict() for one in pair.settings],
        "data": [one._asdict() for one in pair.data],
        "metrics": [_metric(one) for one in pair.metrics],
        "refused": pair.refused or None,
        "judged_rows": pair.rows,  # words: fixed name
        "right": None if pair.right is None else pair.right._asdict(),
        "rows": [{**one._asdict(), "a": one.a._asdict(), "b": one.b._asdict()} for one in pair.different],
    }
    return json.dumps(redacted(finite(content)))


def cut(text: str, width: int) -> str:
    """Cut text to a number of terminal columns and remove control characters; `…` marks the cut."""
    from rich.cells import cell_len, set_cell_size

    text = plain(" ".join(text.split()))
    return text if cell_len(text) <= width else f"{set_cell_size(text, max(0, width - 1)).rstrip()}…"


def _settings(pair: Pair) -> Iterator[str]:
    if pair.is_one:
        yield "A and B are the same run."
        return
    if not pair.settings:
        yield ("The configs are equal, but the data differs:" if pair.data else "The configs are equal.")
    if differences := [*pair.settings, *pair.data]:
        lines = [("", "A", "B"), *((one.key, one.a, one.b) for one in differences)]
        yield from aligned([[cut(cell, _WIDEST_SETTING) for cell in line] for line in lines])


def _called(run: Run) -> str:
    return f"{cut(run.name, 80)}  {run.folder.path}"


def _identity(run: Run) -> dict[str, Any]:
    return {"name": run.name, "id": run.id, "seed": run.seed, "state": run.state, "folder": str(run.folder.path)}


def _metric(one: Metric) -> dict[str, Any]:
    content: dict[str, Any] = {"name": one.name, "a": one.a, "b": one.b, "difference": one.difference}
    if one.test is not None:
        p, low, high, effect, method = one.test
        content |= {"ci_low": low, "ci_high": high, "p_value": p, "effect_size": effect, "test": method}
    return content


def _metrics(pair: Pair) -> Iterator[str]:
    tested = any(one.test for one in pair.metrics)
    header = [pair.split, "A", "B", "B - A", *(("95 % interval", f"p ({THESE_MODELS})", "d") if tested else ())]
    yield from aligned([header, *(_cells(one, tested) for one in pair.metrics)])
    if tested:
        exact = [_name(one) for one in pair.metrics if one.test and one.test.method == EXACT]
        by = f"McNemar's exact test ({', '.join(exact)}), else " if exact else ""
        yield f"p: {by}{FLIPS:,} permutations of the pairs. Interval: BCa bootstrap over rows. d: Cohen's."
        yield _of_recipes(pair)


def _of_recipes(pair: Pair) -> str:
    """Explain what the tests of two runs mean for their recipes."""
    if pair.a.is_fixed and pair.b.is_fixed:
        return "Both runs are deterministic: what holds for these models holds for their recipes."
    return (
        "p and interval hold for these two models only. To compare the recipes, run several seeds of each and see p "
        "in the report's table."
    )


def _name(one: Metric) -> str:
    return cut(title(one.name), _WIDEST_NAME)


def _cells(one: Metric, tested: bool) -> list[str]:
    difference = "-" if one.difference is None else signed(one.difference, one.name)
    cells = [_name(one), number(one.a, one.name), number(one.b, one.name), difference]
    if not tested:
        return cells
    if one.test is None:
        return [*cells, "-", "-", "-"]
    p, low, high, effect, _ = one.test
    interval = "-" if low is None or high is None else f"{signed(low, one.name)} to {signed(high, one.name)}"
    return [*cells, interval, p_value(p), number(effect)]


def _rows(pair: Pair, most: int, width: int) -> Iterator[str]:
    count, answered = (
        len(pair.different),
        "1 row has" if len(pair.different) == 1 else f"{len(pair.different)} rows have",
    )
    if not count:
        yield f"All {pair.rows} rows have the same answers."
        return
    first = f"; the first {most}" if 0 < most < count else ""
    if not most:
        yield f"{answered} different answers."
        return
    yield f"{answered} different answers{first}{' (* right)' if pair.right else ''}:"
    shown = pair.different[:most]
    cells = [["row", "reference", "A", "B"], *map(_row, shown)]
    texts = ["input", *(one.text for one in shown)]
    for line, text in zip(aligned(cells, stripped=False), texts, strict=True):
        yield f"{line}  {cut(redact_text(text), max(_NARROWEST_TEXT, width - len(line) - 2))}".rstrip()


def _row(one: RowPair) -> list[str]:
    return [str(one.row), cut(redact_text(one.reference), _WIDEST_ANSWER), _answer(one.a), _answer(one.b)]


def _answer(answer: Answer) -> str:
    text = cut(redact_text(answer.text), _WIDEST_ANSWER)
    probability = "" if answer.probability is None else f" {number(answer.probability)}"
    return f"{text}{probability}{' *' if answer.right else ''}"
