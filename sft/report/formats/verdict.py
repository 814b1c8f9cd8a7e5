"""The one sentence that a person came for: which row is best, and how sure that is. Plain text."""

from __future__ import annotations

from collections.abc import Sequence

from sft.log import plain, some
from sft.report.comparison import Comparison, Row
from sft.report.formats.table import estimate
from sft.report.metrics import title


def verdict(comparison: Comparison) -> str:
    """The one line that a person came for; empty where nothing can be called best."""
    if not comparison.metrics or not (best := comparison.best.get(comparison.metrics[0])):
        return ""
    leading, split = comparison.metrics[0], comparison.chosen_on
    # of several with the same mean the one that took the fewest labelled examples
    index = min(best, key=lambda one: max(comparison.rows[one].labelled, default=0))
    row = comparison.rows[index]
    found, chosen = row.estimate(leading), row.estimate(leading, split)
    if found is None or chosen is None:
        return ""
    who = _who(row, len(best) - 1)
    if ahead := comparison.undecided(leading):
        names, mean = some([comparison.rows[one].name for one in ahead]), estimate(chosen, leading)
        return f"Not decided: ahead of {who} ({title(leading)} {mean}), with runs missing, is {names}."
    if split == "validation":
        text = f"Best {title(leading)} on the validation rows: {estimate(chosen, leading)} with {who}. "
        text += f"On the test rows it has {estimate(found, leading)}."
    else:
        text = f"Best {title(leading)}: {estimate(found, leading)} with {who}."
    return f"{text} {_on_a_par(comparison, leading, best)}".strip()


def _who(row: Row, others: int) -> str:
    labelled = max(row.labelled, default=0)
    text = f"{plain(row.name)}, from {_counted(labelled, 'labelled example') if labelled else 'no labelled examples'}"
    return f"{text} ({_counted(others, 'other row')} with the same mean)" if others else text


def _on_a_par(comparison: Comparison, leading: str, best: Sequence[int]) -> str:
    """Which others cannot be told apart from the best."""
    others = [one for one in range(len(comparison.rows)) if one not in best]
    judged = [comparison.significance_of(one, leading).tied_with_best for one in others]
    tied, untested = sum(bool(one) for one in judged), judged.count(None)
    if untested == len(judged):
        return _untested(comparison, leading) if untested else ""
    if tied:
        text = f"{_counted(tied, 'other')} cannot be told apart from it"
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
