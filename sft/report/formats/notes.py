"""Notes under the table: the meaning of the marks, how the best was chosen, and which runs need attention.

Every format shows the same notes. They are plain text, which the format escapes. Exact terms are in docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sft.log import plain, some
from sft.report.comparison import Comparison
from sft.report.metrics import has_direction, title
from sft.report.read.copies import Copy
from sft.report.read.earlier import Earlier
from sft.report.read.runs import relative_path
from sft.report.read.taken import CALIBRATED_WITH, SHOTS, SHOWN, SHOWN_IN_TRAINING, Taken

DETAILS = " Details: docs/statistics.md."
_MOST_COPIED = 3  # runs whose folders are named
_MOST_ODD = 10  # sentences on runs whose files cannot be used
_MOST_DIFFERING = 3  # sentences on runs with different results in their copies
_SHORT = {
    SHOTS: "Fewer shots than requested, since the train split has no more: {taken} instead of {asked}",
    SHOWN: "Fewer in-context examples in a prompt than requested: {taken} instead of {asked}",
    SHOWN_IN_TRAINING: "Fewer in-context examples in a training prompt than requested: {taken} instead of {asked}",
    CALIBRATED_WITH: "Fewer labelled rows for calibration than requested: {taken} instead of {asked}",
}


def notes(comparison: Comparison, mark: str, tie: str) -> list[str]:
    """Return the notes under the table, in order.

    Args:
        comparison: what the table shows.
        mark: the mark of a best value (`*`, `In bold: the`).
        tie: the mark of a value that is not significantly different from it (`=`).
    """
    sentences = []
    if comparison.where:
        sentences.append(f"Only runs with {plain(' and '.join(comparison.where))}.")
    if comparison.calibration is not None:
        sentences.append(f"All rows under the calibration {plain(comparison.calibration)}, from their stored scores.")
    if comparison.best:
        sentences.append(_marks(comparison, mark, tie))
    if not comparison.comparable:
        sentences.append("No best value is marked: not all rows were evaluated on the same data.")
    sentences += [*_compared(comparison), *_unsure_over_seeds(comparison)]
    unknown = [key for key in comparison.metrics if not has_direction(key)]
    if comparison.best and unknown:
        names = ", ".join(plain(title(key)) for key in unknown)
        sentences.append(f"Not marked, since it is unknown whether higher is better: {names}.")
    sentences += [*_short(comparison), *_undefined(comparison), *_unread(comparison), *_grouped(comparison)]
    sentences += [*_on_data(comparison), *_after_memory_ran_out(comparison), *_threads(comparison)]
    return [*sentences, *_odd(comparison), *_copied(comparison), *_earlier(comparison)]


def _marks(comparison: Comparison, mark: str, tie: str) -> str:
    """Return the meaning of the marks, and the rows with missing runs that may still become best."""
    if comparison.chosen_on == "validation":
        text = f"{mark} best mean on the validation split (figures without that word are of the test split)"
    else:
        text = f"{mark} best mean of its column, chosen on the test split itself"
    if _has_ties(comparison):
        where = " on the test rows" if comparison.chosen_on == "validation" else ""
        text += f"; {tie} not significantly different from it{where}"
    if not comparison.partial:
        return f"{text}."
    ahead: dict[str, list[str]] = {}
    for key in comparison.metrics:
        for index in comparison.undecided(key):
            ahead.setdefault(comparison.rows[index].name, []).append(title(key))
    text += ". Rows with missing runs are not marked"
    if ahead:
        named = [f"{name} ({', '.join(titles)})" for name, titles in ahead.items()]
        text += f"; better than the best so far: {some(named)}"
    return f"{text}."


def _has_ties(comparison: Comparison) -> bool:
    best = comparison.best
    return any(
        statistics.tied_with_best and row not in best.get(key, ())
        for (row, key), statistics in comparison.significance.rows.items()
    )


def _compared(comparison: Comparison) -> Iterator[str]:
    """Yield the meaning of Δ and p."""
    baselines = [index for index in range(len(comparison.rows)) if comparison.is_baseline(index)]
    if not baselines or not comparison.metrics:
        return
    leading = comparison.metrics[0]
    names = some(list(dict.fromkeys(comparison.rows[index].name for index in baselines)))
    contrasts = {
        i: one for i in range(len(comparison.rows)) if (one := comparison.significance_of(i, leading).contrast)
    }
    if not contrasts and not comparison.baseline_named:
        return
    tested = (
        " p: chance of such a difference between equal recipes, over test rows and seeds; these models: the same for "
        f"the trained models, over test rows alone.{DETAILS}"
    )
    of = f"the baseline of each row, zero-shot of its model where there is one ({names})"
    yield f"Δ: difference to {names if len(baselines) == 1 else of}.{tested if contrasts else ''}"


def _unsure_over_seeds(comparison: Comparison) -> Iterator[str]:
    """Yield the limits of the leading metric's tests: rows with too few seeds, and differences that may be chance."""
    if not comparison.metrics or comparison.grouped:
        return
    leading = comparison.metrics[0]
    if against := comparison.differ_by_rows_alone(leading):
        names = some([comparison.rows[index].name for index in against])
        difference = "Significantly different from the baseline on these test rows"
        yield f"{difference}, but other seeds could change that: {names}."
    single = comparison.without_seeds(leading)
    if single and len(comparison.rows) > 1 and comparison.significance.rows:
        names = some([comparison.rows[index].name for index in single])
        yield f"Not tested, since they have one seed each (2 seeds give a p, 3 or more a better p): {names}."
    if ahead := comparison.ahead_of_the_chosen(leading):
        names = some([comparison.rows[index].name for index in ahead])
        yield f"Significantly better on the test rows than the row chosen on the validation split: {names}."


def _short(comparison: Comparison) -> Iterator[str]:
    """Yield the settings with fewer labelled rows than requested."""
    rows_by_taken: dict[Taken, list[str]] = {}
    for row in comparison.rows:
        for taken in row.taken.values():
            if taken.is_short:
                rows_by_taken.setdefault(taken, []).append(row.name)
    for taken, names in rows_by_taken.items():
        number = str(taken.fewest) if taken.fewest == taken.most else f"{taken.fewest} to {taken.most}"
        yield f"{_SHORT[taken.key].format(asked=taken.asked * taken.labels, taken=number)} ({some(names)})."


def _undefined(comparison: Comparison) -> Iterator[str]:
    """Yield the shown metrics that are not defined for some runs, and why."""
    runs_by_reason: dict[tuple[str, str], list[str]] = {}
    for run in comparison.runs:
        for key, reason in ({} if run.result is None else run.result.undefined).items():
            if key in comparison.metrics and key not in run.metrics():
                runs_by_reason.setdefault((key, reason), []).append(run.name)
    for (key, reason), names in runs_by_reason.items():
        yield f"{plain(title(key))} is not defined for {some(names)}: {plain(reason)}."


def _unread(comparison: Comparison) -> Iterator[str]:
    """Yield the runs that could not be tested."""
    if unread := comparison.significance.unread:
        yield f"No intervals or tests over rows, since the predictions cannot be read: {some(unread)}."


def _odd(comparison: Comparison) -> Iterator[str]:
    """Yield runs with files that cannot be used: a few with the reason, the rest by name."""
    for name, reason in list(comparison.odd.items())[:_MOST_ODD]:
        yield f"{plain(name)}: {plain(reason)}. What depends on it is not shown."
    if more := list(comparison.odd)[_MOST_ODD:]:
        yield f"Files of {len(more)} more runs cannot be used: {some(more)}."


def _grouped(comparison: Comparison) -> Iterator[str]:
    if comparison.grouped:
        by = ", ".join(map(plain, comparison.grouped))
        yield f"Grouped by {by}: mean ± standard deviation over all runs of a group, without tests."


def _after_memory_ran_out(comparison: Comparison) -> Iterator[str]:
    """Yield the runs that finished with a smaller batch after running out of memory, by the size of the batch."""
    runs_by_batch: dict[tuple[int, str], list[str]] = {}
    for run in comparison.runs:
        if run.result is not None and run.result.halvings:
            runs_by_batch.setdefault((run.result.halvings, run.result.batch), []).append(run.name)
    for (halvings, batch), names in runs_by_batch.items():
        who = "1 experiment ran out of memory" if len(names) == 1 else f"{len(names)} experiments ran out of memory"
        part = "half of" if halvings == 1 else f"1/{2**halvings} of"
        yield f"{who} and finished with {part} the batch: {some(names)}{f' ({batch})' if batch else ''}."


def _threads(comparison: Comparison) -> Iterator[str]:
    """Yield the runs that used different numbers of CPU threads."""
    if len(comparison.threads) > 1:
        groups = [
            f"{number} thread{'s' if number > 1 else ''}: {some([run.name for run in runs])}"
            for number, runs in comparison.threads.items()
        ]
        yield (
            "Runs used different numbers of threads, so their figures can differ in the last digits "
            f"({'; '.join(groups)})."
        )


def _copied(comparison: Comparison) -> Iterator[str]:
    """Yield the runs that are in several folders, and a sentence for a few runs whose results differ there."""
    if not comparison.copies:
        return
    copies_by_id: dict[str, list[Copy]] = {}
    for copy in comparison.copies:
        copies_by_id.setdefault(copy.id, []).append(copy)
    entries = [f"{copies[0].name} ({_folders(comparison, copies)})" for copies in copies_by_id.values()]
    are, count = ("1 run is", "counts") if len(entries) == 1 else (f"{len(entries)} runs are", "count")
    yield f"{are} in more than one folder and {count} once: {some(entries, _MOST_COPIED)}."
    differing = [copy for copy in comparison.copies if not copy.same]
    for copy in differing[:_MOST_DIFFERING]:
        yield f"The results of {plain(copy.name)} differ between its folders{_difference(comparison, copy)}."
    if (more := len(differing) - _MOST_DIFFERING) > 0:
        yield f"The results of {more} more runs differ too: aggregated_results.json names them."


def _folders(comparison: Comparison, copies: list[Copy]) -> str:
    left_out = [relative_path(comparison.folder, copy.left_out) for copy in copies]
    return f"{relative_path(comparison.folder, copies[0].counted)}, not {some(left_out, _MOST_COPIED)}"


def _difference(comparison: Comparison, copy: Copy) -> str:
    """Return the first shown metric that differs, or else any metric that differs."""
    shown = [*comparison.metrics, *(key for key, _, _ in copy.differences)]
    differences = sorted(copy.differences, key=lambda difference: shown.index(difference[0]))
    if not differences:
        return ""
    key, counted, left_out = differences[0]
    return f": {plain(title(key))} {counted!r} and {left_out!r}"


def _earlier(comparison: Comparison) -> Iterator[str]:
    outdated = [run for run in comparison.earlier if run.outdated]
    if outdated:
        yield _not_in_table(outdated, "of an earlier version of sft, which read data files differently,")
    edited = [run for run in comparison.earlier if not run.outdated]
    if edited:
        sources = list(dict.fromkeys(source for run in edited for source in run.sources))
        of = f"of earlier content of {some(sources).replace(', ', ' or ')}" if sources else "under an earlier id"
        yield _not_in_table(edited, of)


def _not_in_table(runs: Sequence[Earlier], of: str) -> str:
    noun, are, table = ("run", "is", "it") if len(runs) == 1 else ("runs", "are", "them")
    names = some([run.name for run in runs])
    where = f"{are} in the folder and not in this table"
    return f"{len(runs)} finished {noun} {of} {where}: {names}; report --all shows {table}."


def _on_data(comparison: Comparison) -> Iterator[str]:
    """Yield the overlaps and duplicates in the data that make figures look better than they are."""
    sentences = [note for run in comparison.runs if run.result is not None for note in run.result.data_notes]
    yield from (f"{sentence}." for sentence in dict.fromkeys(sentences))
