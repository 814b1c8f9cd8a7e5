"""What is said beside the table: how the best was chosen, or why not, and which runs are not what they seem.

The same for the terminal and for Markdown: plain text, which whoever shows it escapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sft.log import plain
from sft.report.metrics import has_direction
from sft.report.rows import Comparison

NAMED = 8  # runs that are named in one line


def notes(comparison: Comparison, mark: str) -> list[str]:
    """Sentences on the marked values.

    Args:
        comparison: what the table shows.
        mark: how a best value looks (`*`, `In bold: the`).
    """
    found = []
    if comparison.best and comparison.chosen_on == "validation":
        found.append(f"{mark} best mean on the validation split (figures without that word are of the test split).")
    elif comparison.best:
        found.append(f"{mark} best mean of its column, chosen on the test split itself.")
    if not comparison.comparable:
        found.append("No best value is marked: the rows were not all judged on the same data.")
    elif comparison.partial:
        found.append("Rows that lack some of their runs are not marked.")
    unknown = [key for key in comparison.metrics if not has_direction(key)]
    if comparison.best and unknown:
        found.append(f"Not marked, since it is not known whether more is better: {', '.join(map(plain, unknown))}.")
    return [*found, *_after_memory_ran_out(comparison), *_earlier(comparison)]


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
