"""Two runs side by side as text for a terminal, and as JSON for programs. Text from configs and data is cleaned."""

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
    """The comparison in lines.

    Args:
        pair: of two runs.
        rows: how many of the rows that they answer differently are shown.
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
        told = f"both {right.both}, only A {right.only_a}, only B {right.only_b}, neither {right.neither}"
        yield f"Right, of {pair.rows} rows: {told}."
    yield from _rows(pair, rows, width)


def pair_json(pair: Pair) -> str:
    """All of it as one line of JSON, in ASCII: `a`, `b`, `settings`, `data`, `metrics`, `refused`, `right`, `rows`."""
    found = {
        "split": pair.split,
        **{name: _identity(run) for name, run in (("a", pair.a), ("b", pair.b))},
        "settings": [one._asdict() for one in pair.settings],
        "data": [one._asdict() for one in pair.data],
        "metrics": [_metric(one) for one in pair.metrics],
        "refused": pair.refused or None,
        "judged_rows": pair.rows,
        "right": None if pair.right is None else pair.right._asdict(),
        "rows": [{**one._asdict(), "a": one.a._asdict(), "b": one.b._asdict()} for one in pair.different],
    }
    return json.dumps(redacted(finite(found)))


def cut(text: str, width: int) -> str:
    """Text of at most so many columns of a terminal, without control characters; `…` says that there was more."""
    from rich.cells import cell_len, set_cell_size

    text = plain(" ".join(text.split()))
    return text if cell_len(text) <= width else f"{set_cell_size(text, max(0, width - 1)).rstrip()}…"


def _settings(pair: Pair) -> Iterator[str]:
    if pair.is_one:
        yield "A and B are one run."
        return
    if not pair.settings:
        yield (
            "Their configs say the same, but their data is not the same:"
            if pair.data
            else "Their configs say the same."
        )
    if found := [*pair.settings, *pair.data]:
        lines = [("", "A", "B"), *((one.key, one.a, one.b) for one in found)]
        yield from aligned([[cut(cell, _WIDEST_SETTING) for cell in line] for line in lines])


def _called(run: Run) -> str:
    return f"{cut(run.name, 80)}  {run.folder.path}"


def _identity(run: Run) -> dict[str, Any]:
    return {"name": run.name, "id": run.id, "seed": run.seed, "state": run.state, "folder": str(run.folder.path)}


def _metric(one: Metric) -> dict[str, Any]:
    found: dict[str, Any] = {"name": one.name, "a": one.a, "b": one.b, "difference": one.difference}
    if one.test is not None:
        p, low, high, effect, method = one.test
        found |= {"ci_low": low, "ci_high": high, "p_value": p, "effect_size": effect, "test": method}
    return found


def _metrics(pair: Pair) -> Iterator[str]:
    tested = any(one.test for one in pair.metrics)
    header = [pair.split, "A", "B", "B - A", *(("95 % interval", f"p ({THESE_MODELS})", "d") if tested else ())]
    yield from aligned([header, *(_cells(one, tested) for one in pair.metrics)])
    if tested:
        exact = [_name(one) for one in pair.metrics if one.test and one.test.method == EXACT]
        by = f"exact test of McNemar ({', '.join(exact)}), else " if exact else ""
        yield f"p: {by}{FLIPS:,} permutations of the pairs. Interval: BCa bootstrap over rows. d: Cohen's."
        yield _of_recipes(pair)


def _of_recipes(pair: Pair) -> str:
    """What the tests of two runs say of their recipes."""
    if pair.a.is_fixed and pair.b.is_fixed:
        return "Nothing is random in either run: what holds for these models holds for their recipes."
    return (
        "p and interval hold for these two models on such rows. Whether one recipe is better takes several seeds of "
        "each: p in the report's table."
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
    count, answered = len(pair.different), "1 row is" if len(pair.different) == 1 else f"{len(pair.different)} rows are"
    if not count:
        yield f"All {pair.rows} rows are answered alike."
        return
    first = f"; the first {most}" if 0 < most < count else ""
    if not most:
        yield f"{answered} answered differently."
        return
    yield f"{answered} answered differently{first}{' (* right)' if pair.right else ''}:"
    shown = pair.different[:most]
    cells = [["row", "its own", "A", "B"], *map(_row, shown)]
    texts = ["input", *(one.text for one in shown)]
    for line, text in zip(aligned(cells, stripped=False), texts, strict=True):
        yield f"{line}  {cut(redact_text(text), max(_NARROWEST_TEXT, width - len(line) - 2))}".rstrip()


def _row(one: RowPair) -> list[str]:
    return [str(one.row), cut(redact_text(one.reference), _WIDEST_ANSWER), _answer(one.a), _answer(one.b)]


def _answer(answer: Answer) -> str:
    text = cut(redact_text(answer.text), _WIDEST_ANSWER)
    probability = "" if answer.probability is None else f" {number(answer.probability)}"
    return f"{text}{probability}{' *' if answer.right else ''}"
