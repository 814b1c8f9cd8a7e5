"""The main result in one line: which row is best, and how certain that is. Plain text."""

from __future__ import annotations

from collections.abc import Sequence

from sft.log import plain, some
from sft.report.comparison import Comparison, Row
from sft.report.formats.table import estimate
from sft.report.metrics import title


def verdict(comparison: Comparison) -> str:
    """Return the main result in one line; empty if there is no best row."""
    if not comparison.metrics or not (best := comparison.best.get(comparison.metrics[0])):
        return ""
    leading, split = comparison.metrics[0], comparison.chosen_on
    # of rows with the same mean, the one with the fewest labelled examples
    index = min(best, key=lambda row: max(comparison.rows[row].labelled, default=0))
    row = comparison.rows[index]
    test, chosen = row.estimate(leading), row.estimate(leading, split)
    if test is None or chosen is None:
        return ""
    name = _name(row, len(best) - 1)
    if ahead := comparison.undecided(leading):
        names, mean = some([comparison.rows[row].name for row in ahead]), estimate(chosen, leading)
        are, have = ("is", "has") if len(ahead) == 1 else ("are", "have")
        return f"Not decided: {names} {are} ahead of {name} ({title(leading)} {mean}), but {have} runs missing."
    if split == "validation":
        text = f"Best {title(leading)} on the validation rows: {estimate(chosen, leading)} with {name}. "
        text += f"On the test rows it has {estimate(test, leading)}."
    else:
        text = f"Best {title(leading)}: {estimate(test, leading)} with {name}."
    return f"{text} {_ties(comparison, leading, best)}".strip()


def _name(row: Row, others: int) -> str:
    labelled = max(row.labelled, default=0)
    text = f"{plain(row.name)}, from {_counted(labelled, 'labelled example') if labelled else 'no labelled examples'}"
    return f"{text} ({_counted(others, 'other row')} with the same mean)" if others else text


def _ties(comparison: Comparison, leading: str, best: Sequence[int]) -> str:
    """Return how many other rows are not significantly different from the best."""
    others = [index for index in range(len(comparison.rows)) if index not in best]
    ties = [comparison.significance_of(index, leading).tied_with_best for index in others]
    tied, untested = sum(bool(tie) for tie in ties), ties.count(None)
    if untested == len(ties):
        return _untested(comparison, leading) if untested else ""
    if tied:
        text = f"{_counted(tied, 'other')} {'is' if tied == 1 else 'are'} not significantly different"
    else:
        how = "significantly worse" if comparison.chosen_on == "test" else "significantly different on the test rows"
        text = f"All others are {how}"
    more = f", {untested} not tested" if untested else ""
    return f"{text} (test rows and seeds both sampled{more})."


def _untested(comparison: Comparison, leading: str) -> str:
    if not comparison.significance.rows or not comparison.without_seeds(leading):
        return ""
    return "Other seeds could change the order: with one seed each, recipes are not tested against each other."


def _counted(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number:,} {what}s"
