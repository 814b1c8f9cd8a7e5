"""What an agreement of two results looks like on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from sft.log import plain
from sft.report.agreement import RELATIVE, Agreement, Answered, Figure


def told(agreement: Agreement) -> Iterator[str]:
    """Lines: each figure, the rows, the verdict, and what the two ran on where that differs."""
    cells = [("", "recorded", "again", ""), *map(_cells, agreement.figures)]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""
    yield from map(_rows, agreement.answers)
    yield _verdict(agreement)
    if agreement.changed:
        yield "What they ran on differs:"
        yield from (f"  {plain(one.name)}: {plain(one.before)}, now {plain(one.now)}" for one in agreement.changed)


def _cells(figure: Figure) -> tuple[str, ...]:
    numbers = ("-" if value is None else f"{value:.6g}" for value in (figure.before, figure.now))
    return (plain(figure.name), *numbers, _of(figure))


def _of(figure: Figure) -> str:
    if figure.is_same:
        return "agrees exactly"
    if figure.before is None or figure.now is None:
        return "is there only once"
    return f"agrees within {abs(figure.difference):.1g}" if figure.agrees else f"differs by {figure.difference:+.3g}"


def _rows(one: Answered) -> str:
    before, now = one.rows
    if one.different is None:
        return f"{one.split}: the rows cannot be compared ({before} were judged, now {now})"
    if one.different:
        text = f"{one.split}: {one.different} of {now} predictions differ"
    else:
        text = f"{one.split}: all {now} predictions are the same"
    if one.largest is None:
        return text
    if one.largest:
        return f"{text}; label scores differ by {one.largest:.2g} at most"
    return f"{text}; label scores are the same" if one.different else f"{text}, to the last score"


def _verdict(agreement: Agreement) -> str:
    if not agreement.figures:
        return "There are no figures to compare."
    if agreement.is_same:
        return "It agrees exactly."
    if agreement.agrees:
        return f"It agrees: no figure differs by more than {RELATIVE:.0e} of its size."
    names = [plain(figure.name) for figure in agreement.figures if not figure.agrees]
    return f"It does not agree: {', '.join(names[:6])}{', …' if len(names) > 6 else ''}."
