"""What an agreement of two results looks like on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sft.log import plain
from sft.report.formats.text import aligned
from sft.report.pairs.agreement import RELATIVE, Agreement, Answered, Changed, Figure


def told(agreement: Agreement) -> Iterator[str]:
    """Lines: each figure, the rows, the verdict, and what the two ran on where that differs."""
    yield from aligned([("", "recorded", "again", ""), *map(_cells, agreement.figures)])
    yield ""
    yield from map(_rows, agreement.answers)
    yield _verdict(agreement)
    if agreement.changed:
        yield "What they ran on differs:"
        yield from (f"  {plain(one.name)}: {plain(one.before)}, now {plain(one.now)}" for one in agreement.changed)


def _cells(figure: Figure) -> tuple[str, ...]:
    numbers = ("-" if value is None else f"{value:.6g}" for value in (figure.before, figure.now))
    return (figure.name, *numbers, _of(figure))


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
    if not one.comparable:
        return f"{text}; label scores cannot be compared (one of both has none, or of other labels)"
    if one.largest is None:
        return text
    if one.largest:
        return f"{text}; label scores differ by {one.largest:.2g} at most"
    return f"{text}; label scores are the same" if one.different else f"{text}, to the last score"


def _verdict(agreement: Agreement) -> str:
    changed = f"the data has changed ({data_in_words(agreement.data)})" if agreement.data else ""
    if not agreement.figures_agree:
        names = [plain(figure.name) for figure in agreement.figures if not figure.agrees]
        text = f"It does not agree: {', '.join(names[:6])}{', …' if len(names) > 6 else ''}"
        return f"{text}; {changed}." if changed else f"{text}."
    beside = [part for one in agreement.answers for part in _apart(one)]
    if changed:
        figures = "The figures agree, but this" if agreement.figures else "There are no figures to compare, and this"
        return f"{figures} is no reproduction: {', '.join([changed, *beside])}."
    if not agreement.figures:
        return "There are no figures to compare."
    if agreement.is_same:
        return "It agrees exactly."
    if agreement.ids[0] != agreement.ids[1]:
        beside.insert(0, f"it is not the same work any more (id {agreement.ids[0]}, now {agreement.ids[1]})")
    near = f"It agrees: no figure differs by more than {RELATIVE:.0e} of its size"
    figures = "It agrees: all figures are the same" if agreement.figures_are_same else near
    return f"{figures}; {', '.join(beside)}." if beside else f"{figures}."


def data_in_words(changes: Sequence[Changed]) -> str:
    """What has changed of the data: `content: sha256 f59ef83c…, now 1c0a7dc5…; test rows: 60, now 61`."""
    return "; ".join(f"{plain(one.name)}: {plain(one.before)}, now {plain(one.now)}" for one in changes)


def _apart(one: Answered) -> Iterator[str]:
    """What is not the same of the rows of a split, for the verdict."""
    of = "" if one.split == "test" else f" ({one.split})"
    if one.different is None:
        yield f"the rows cannot be compared{of}"
        return
    if one.different:
        yield f"{one.different} of {one.rows[1]} predictions differ{of}"
    if one.largest:
        yield f"label scores differ by {one.largest:.2g} at most{of}"
    elif not one.comparable:
        yield f"label scores cannot be compared{of}"
