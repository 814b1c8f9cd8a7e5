"""What is said beside the table: how the best was chosen, or why not, and which runs are not what they seem.

The same for the terminal and for Markdown: plain text, which whoever shows it escapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sft.log import plain
from sft.report.comparison import Comparison
from sft.report.metrics import has_direction

NAMED = 8  # runs that are named in one line


def notes(comparison: Comparison, mark: str, tie: str) -> list[str]:
    """Sentences on the marked values.

    Args:
        comparison: what the table shows.
        mark: how a best value looks (`*`, `In bold: the`).
        tie: how one looks that cannot be told apart from it (`=`).
    """
    found = []
    if comparison.best:
        where = "on the validation split" if comparison.chosen_on == "validation" else "of its column"
        what = (
            "(figures without that word are of the test split)"
            if comparison.chosen_on == "validation"
            else "chosen on the test split itself"
        )
        apart = f"; {tie} cannot be told apart from it" if _has_ties(comparison) else ""
        found.append(f"{mark} best mean {where}{' ' if what.startswith('(') else ', '}{what}{apart}.")
    found += [*_compared(comparison), *_unsure_over_seeds(comparison)]
    if not comparison.comparable:
        found.append("No best value is marked: the rows were not all judged on the same data.")
    elif comparison.partial:
        found.append("Rows that lack some of their runs are not marked.")
    unknown = [key for key in comparison.metrics if not has_direction(key)]
    if comparison.best and unknown:
        found.append(f"Not marked, since it is not known whether more is better: {', '.join(map(plain, unknown))}.")
    return [*found, *_grouped(comparison), *_after_memory_ran_out(comparison), *_earlier(comparison)]


def _has_ties(comparison: Comparison) -> bool:
    best = comparison.best
    return any(
        one.tied_with_best and row not in best.get(key, ()) for (row, key), one in comparison.significance.rows.items()
    )


def _compared(comparison: Comparison) -> Iterator[str]:
    """What Δ and p are of, and which differences may not outlast other seeds."""
    places = [index for index in range(len(comparison.rows)) if comparison.is_baseline(index)]
    if not places or not comparison.metrics:
        return
    leading = comparison.metrics[0]
    names = some([comparison.rows[index].name for index in places])
    contrasts = {i: one for i in range(len(comparison.rows)) if (one := comparison.judgement(i, leading).contrast)}
    if not contrasts and not comparison.baseline_named:
        return
    tested = ", p: paired test on the same rows, corrected by Holm" if contrasts else ""
    yield f"Δ: difference to {names}{tested}."


def _unsure_over_seeds(comparison: Comparison) -> Iterator[str]:
    """Differences of the leading metric that other test rows would show again, and other seeds perhaps not."""
    if comparison.metrics and (rows := comparison.may_turn(comparison.metrics[0])):
        names = some([comparison.rows[index].name for index in rows])
        yield (
            f"Told apart by the test rows, not by the seeds (the 95 % interval of the difference over seeds holds 0): "
            f"{names}."
        )


def _grouped(comparison: Comparison) -> Iterator[str]:
    if comparison.grouped:
        by = ", ".join(map(plain, comparison.grouped))
        yield f"Gathered by {by}: mean ± standard deviation over all runs of a group, whatever else varies; no tests."


def some(names: Sequence[str], most: int = NAMED) -> str:
    """The first of some names, without control characters, and how many more there are."""
    shown = ", ".join(map(plain, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _after_memory_ran_out(comparison: Comparison) -> Iterator[str]:
    """Runs that finished with a smaller batch than was asked for, told once for each size that it became."""
    found: dict[tuple[int, str], list[str]] = {}
    for run in comparison.runs:
        if run.result is not None and run.result.halvings:
            found.setdefault((run.result.halvings, run.result.batch), []).append(run.name)
    for (halvings, batch), names in found.items():
        who = "1 experiment ran out of memory" if len(names) == 1 else f"{len(names)} experiments ran out of memory"
        part = "half of" if halvings == 1 else f"1/{2**halvings} of"
        yield f"{who} and finished with {part} the batch: {some(names)}{f' ({batch})' if batch else ''}."


def _earlier(comparison: Comparison) -> Iterator[str]:
    earlier = comparison.earlier
    if not earlier:
        return
    sources = list(dict.fromkeys(source for one in earlier for source in one.sources))
    of = f"of earlier content of {some(sources).replace(', ', ' or ')}" if sources else "under an earlier id"
    one = len(earlier) == 1
    runs, are, table = ("run", "is", "it") if one else ("runs", "are", "them")
    yield (
        f"{len(earlier)} finished {runs} {of} {are} in the folder and not in this table: "
        f"{some([run.name for run in earlier])}; report --all shows {table}."
    )
