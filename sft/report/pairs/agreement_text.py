"""Agreement of two results as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sft.log import plain
from sft.report.formats.text import aligned
from sft.report.pairs.agreement import RELATIVE, Agreement, Answered, Changed, Figure


def agreement_lines(agreement: Agreement) -> Iterator[str]:
    """Yield lines: each metric, the rows, the verdict and the environment differences."""
    yield from aligned([("", "recorded", "again", ""), *map(_cells, agreement.figures)])
    yield ""
    yield from map(_rows, agreement.answers)
    yield _verdict(agreement)
    if agreement.changed:
        yield "Environment differences:"
        yield from (f"  {plain(one.name)}: {plain(one.before)}, now {plain(one.now)}" for one in agreement.changed)


def _cells(figure: Figure) -> tuple[str, ...]:
    numbers = ("-" if value is None else f"{value:.6g}" for value in (figure.before, figure.now))
    return (figure.name, *numbers, _describe(figure))


def _describe(figure: Figure) -> str:
    if figure.is_same:
        return "agrees exactly"
    if figure.before is None or figure.now is None:
        return "present in only one run"
    return f"agrees within {abs(figure.difference):.1g}" if figure.agrees else f"differs by {figure.difference:+.3g}"


def _rows(one: Answered) -> str:
    before, now = one.rows
    if one.different is None:
        return f"{one.split}: the rows cannot be compared ({before} before, {now} now)"
    if one.different:
        text = f"{one.split}: {one.different} of {now} predictions differ"
    else:
        text = f"{one.split}: all {now} predictions are the same"
    if not one.comparable:
        return f"{text}; label scores cannot be compared (one run has none, or has other labels)"
    if one.largest is None:
        return text
    if one.largest:
        return f"{text}; label scores differ by {one.largest:.2g} at most"
    return f"{text}; label scores are the same" if one.different else f"{text}, and all label scores too"


def _verdict(agreement: Agreement) -> str:
    changed = f"the data has changed ({data_in_words(agreement.data)})" if agreement.data else ""
    if not agreement.figures_agree:
        names = [plain(figure.name) for figure in agreement.figures if not figure.agrees]
        text = f"Not reproduced, metrics differ: {', '.join(names[:6])}{', …' if len(names) > 6 else ''}"
        return f"{text}; {changed}." if changed else f"{text}."
    notes = [part for one in agreement.answers for part in _row_differences(one)]
    if changed:
        figures = "the metrics agree" if agreement.figures else "there are no metrics to compare"
        return f"Not reproduced: {figures}, but {', '.join([changed, *notes])}."
    if not agreement.figures:
        return "There are no metrics to compare."
    if agreement.is_same:
        return "Reproduced exactly."
    if agreement.ids[0] != agreement.ids[1]:
        notes.insert(0, f"the id has changed (id {agreement.ids[0]}, now {agreement.ids[1]})")
    near = f"Reproduced: no metric differs by more than {RELATIVE:.0e} of its size"
    figures = "Reproduced: all metrics are the same" if agreement.figures_are_same else near
    return f"{figures}; {', '.join(notes)}." if notes else f"{figures}."


def data_in_words(changes: Sequence[Changed]) -> str:
    """Describe the changes of the data: `content: sha256 f59ef83c…, now 1c0a7dc5…; test rows: 60, now 61`."""
    return "; ".join(f"{plain(one.name)}: {plain(one.before)}, now {plain(one.now)}" for one in changes)


def _row_differences(one: Answered) -> Iterator[str]:
    """Yield the differences between the rows of a split, for the verdict."""
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
