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
    """Which others cannot be told apart from the best, by the test rows and by the seeds."""
    others = [one for one in range(len(comparison.rows)) if one not in best]
    judged = [comparison.judgement(one, leading).tied_with_best for one in others]
    if not any(one is not None for one in judged):
        return ""
    tied, untested = sum(bool(one) for one in judged), judged.count(None)
    rows = "validation rows" if comparison.chosen_on == "validation" else "test rows"
    told = {0: "all others can", 1: "one other cannot"}.get(tied, f"{tied} others cannot")
    text = f"By the {rows}, {told} be told apart from it"
    if behind := len(comparison.behind_by_rows_alone(leading)):
        text += f"; by the seeds, {behind} more cannot" if tied else f"; by the seeds, {behind} cannot"
    return f"{text} ({untested} not tested)." if untested else f"{text}."


def _counted(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number:,} {what}s"
