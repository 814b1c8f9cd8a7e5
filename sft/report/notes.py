"""What is said beside the table, the same for the terminal and for Markdown: how the best was chosen, or why not."""

from __future__ import annotations

from sft.log import plain
from sft.report.metrics import has_direction
from sft.report.rows import Comparison


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
    return found
