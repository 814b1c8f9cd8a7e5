"""What is said beside the table: how the best was chosen, or why not, and which runs are not what they seem.

The same for the terminal and for Markdown: plain text, which whoever shows it escapes.
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

_MOST_COPIED = 3  # runs whose folders are named
_MOST_ODD = 10  # runs whose files cannot be used, one sentence each
_MOST_DIFFERING = 3  # runs of whose copies the results differ, one sentence each
_SHORT = {
    SHOTS: "Fewer shots than asked for, since the train split has no more: {taken} instead of {asked}",
    SHOWN: "Fewer in-context examples in a prompt than asked for: {taken} instead of {asked}",
    SHOWN_IN_TRAINING: "Fewer in-context examples in a training prompt than asked for: {taken} instead of {asked}",
    CALIBRATED_WITH: "Fewer labelled rows to calibrate with than asked for: {taken} instead of {asked}",
}


def notes(comparison: Comparison, mark: str, tie: str) -> list[str]:
    """Sentences on the marked values.

    Args:
        comparison: what the table shows.
        mark: how a best value looks (`*`, `In bold: the`).
        tie: how one looks that cannot be told apart from it (`=`).
    """
    found = []
    if comparison.where:
        found.append(f"Only runs with {plain(' and '.join(comparison.where))}.")
    if comparison.calibration is not None:
        found.append(f"All rows under the calibration {plain(comparison.calibration)}, from their stored scores.")
    if comparison.best:
        found.append(_marks(comparison, mark, tie))
    if not comparison.comparable:
        found.append("No best value is marked: the rows were not all judged on the same data.")
    found += [*_compared(comparison), *_unsure_over_seeds(comparison)]
    unknown = [key for key in comparison.metrics if not has_direction(key)]
    if comparison.best and unknown:
        names = ", ".join(plain(title(key)) for key in unknown)
        found.append(f"Not marked, since it is not known whether more is better: {names}.")
    found += [*_short(comparison), *_undefined(comparison), *_unread(comparison), *_grouped(comparison)]
    found += [*_on_data(comparison), *_after_memory_ran_out(comparison), *_threads(comparison)]
    return [*found, *_odd(comparison), *_copied(comparison), *_earlier(comparison)]


def _marks(comparison: Comparison, mark: str, tie: str) -> str:
    """What the marks mean, and which rows may still take the best one's place."""
    if comparison.chosen_on == "validation":
        text = f"{mark} best mean on the validation split (figures without that word are of the test split)"
    else:
        text = f"{mark} best mean of its column, chosen on the test split itself"
    if _has_ties(comparison):
        where = " on the test rows" if comparison.chosen_on == "validation" else ""
        text += f"; {tie} cannot be told apart from it{where}"
    if not comparison.partial:
        return f"{text}."
    ahead: dict[str, list[str]] = {}
    for key in comparison.metrics:
        for index in comparison.undecided(key):
            ahead.setdefault(comparison.rows[index].name, []).append(title(key))
    text += ". Rows that lack some of their runs are not marked"
    if ahead:
        named = [f"{name} ({', '.join(titles)})" for name, titles in ahead.items()]
        text += f"; ahead of the best all the same: {some(named)}"
    return f"{text}."


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
    names = some(list(dict.fromkeys(comparison.rows[index].name for index in places)))
    contrasts = {
        i: one for i in range(len(comparison.rows)) if (one := comparison.significance_of(i, leading).contrast)
    }
    if not contrasts and not comparison.baseline_named:
        return
    tested = (
        "; p: do the recipes differ, with test rows and seeds both sampled; these models: do the trained models differ "
        "on these test rows (both corrected by Holm)"
    )
    of = names if len(places) == 1 else f"the baseline of each row, zero-shot of its model where there is one ({names})"
    yield f"Δ: difference to {of}{tested if contrasts else ''}."


def _unsure_over_seeds(comparison: Comparison) -> Iterator[str]:
    """What the leading metric's tests cannot say, for want of seeds."""
    if not comparison.metrics or comparison.grouped:
        return
    leading = comparison.metrics[0]
    if against := comparison.differ_by_rows_alone(leading):
        names = some([comparison.rows[index].name for index in against])
        yield f"Different from the baseline on these test rows, but other seeds could change that: {names}."
    single = comparison.without_seeds(leading)
    if single and len(comparison.rows) > 1 and comparison.significance.rows:
        names = some([comparison.rows[index].name for index in single])
        yield f"Not tested, with one seed each (2 seeds give a p, 3 or more a better one): {names}."
    if ahead := comparison.ahead_of_the_chosen(leading):
        names = some([comparison.rows[index].name for index in ahead])
        yield f"Significantly better on the test rows than the row chosen on the validation split: {names}."


def _short(comparison: Comparison) -> Iterator[str]:
    """Settings of which fewer labelled rows were there than asked for."""
    found: dict[Taken, list[str]] = {}
    for row in comparison.rows:
        for one in row.taken.values():
            if one.is_short:
                found.setdefault(one, []).append(row.name)
    for one, names in found.items():
        asked, taken = one.asked * one.labels, str(one.fewest)
        taken += "" if one.fewest == one.most else f" to {one.most}"
        yield f"{_SHORT[one.key].format(asked=asked, taken=taken)} ({some(names)})."


def _undefined(comparison: Comparison) -> Iterator[str]:
    """Shown metrics that some runs do not have, and why."""
    found: dict[tuple[str, str], list[str]] = {}
    for run in comparison.runs:
        for key, reason in ({} if run.result is None else run.result.undefined).items():
            if key in comparison.metrics and key not in run.metrics():
                found.setdefault((key, reason), []).append(run.name)
    for (key, reason), names in found.items():
        yield f"{plain(title(key))} is not defined for {some(names)}: {plain(reason)}."


def _unread(comparison: Comparison) -> Iterator[str]:
    """Runs that could not be tested."""
    if unread := comparison.significance.unread:
        yield f"No intervals and tests over rows where the predictions cannot be read: {some(unread)}."


def _odd(comparison: Comparison) -> Iterator[str]:
    """Runs some of whose files cannot be used, each with its reason, up to a few."""
    for name, reason in list(comparison.odd.items())[:_MOST_ODD]:
        yield f"{plain(name)}: {plain(reason)}. What depends on it is not shown."
    if more := list(comparison.odd)[_MOST_ODD:]:
        yield f"Files of {len(more)} more runs cannot be used: {some(more)}."


def _grouped(comparison: Comparison) -> Iterator[str]:
    if comparison.grouped:
        by = ", ".join(map(plain, comparison.grouped))
        yield f"Gathered by {by}: mean ± standard deviation over all runs of a group, whatever else varies; no tests."


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


def _threads(comparison: Comparison) -> Iterator[str]:
    """Runs that computed with different numbers of threads."""
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
    """Runs that are in several folders; each whose copies differ in a sentence of its own, up to a few."""
    if not comparison.copies:
        return
    folders: dict[str, list[Copy]] = {}
    for one in comparison.copies:
        folders.setdefault(one.id, []).append(one)
    entries = [f"{those[0].name} ({_folders(comparison, those)})" for those in folders.values()]
    are, count = ("1 run is", "counts") if len(entries) == 1 else (f"{len(entries)} runs are", "count")
    yield f"{are} in more than one folder and {count} once: {some(entries, _MOST_COPIED)}."
    differing = [one for one in comparison.copies if not one.same]
    for one in differing[:_MOST_DIFFERING]:
        yield f"The results of {plain(one.name)} differ between its folders{_difference(comparison, one)}."
    if (more := len(differing) - _MOST_DIFFERING) > 0:
        yield f"So do those of {more} more; aggregated_results.json names them."


def _folders(comparison: Comparison, those: list[Copy]) -> str:
    left_out = [relative_path(comparison.place, one.left_out) for one in those]
    return f"{relative_path(comparison.place, those[0].counted)}, not {some(left_out, _MOST_COPIED)}"


def _difference(comparison: Comparison, one: Copy) -> str:
    """The first shown metric that differs, else any."""
    shown = [*comparison.metrics, *(key for key, _, _ in one.differences)]
    found = sorted(one.differences, key=lambda difference: shown.index(difference[0]))
    return f": {plain(title(found[0][0]))} {found[0][1]!r} and {found[0][2]!r}" if found else ""


def _earlier(comparison: Comparison) -> Iterator[str]:
    outdated = [run for run in comparison.earlier if run.outdated]
    if outdated:
        yield _not_in_table(outdated, "of an earlier version of sft, which read data files differently,")
    edited = [run for run in comparison.earlier if not run.outdated]
    if edited:
        sources = list(dict.fromkeys(source for one in edited for source in one.sources))
        of = f"of earlier content of {some(sources).replace(', ', ' or ')}" if sources else "under an earlier id"
        yield _not_in_table(edited, of)


def _not_in_table(runs: Sequence[Earlier], of: str) -> str:
    noun, are, table = ("run", "is", "it") if len(runs) == 1 else ("runs", "are", "them")
    names = some([run.name for run in runs])
    where = f"{are} in the folder and not in this table"
    return f"{len(runs)} finished {noun} {of} {where}: {names}; report --all shows {table}."


def _on_data(comparison: Comparison) -> Iterator[str]:
    """Rows that are the same, where that makes figures look better than they are."""
    sentences = [note for run in comparison.runs if run.result is not None for note in run.result.data_notes]
    yield from (f"{sentence}." for sentence in dict.fromkeys(sentences))
