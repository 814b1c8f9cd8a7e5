"""How sure a table is: intervals, contrasts with the baseline and ties with the best, and what could not be judged.

Puts together the arithmetic of `sft.report.statistics` and the rows of the table; reads no files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sft.log import get_logger, some
from sft.report.comparison import Comparison
from sft.report.judged.methods import BCA, FEWEST_FOR_BCA, FEWEST_ROWS, WILSON, methods, withheld
from sft.report.judged.outcomes import Outcomes
from sft.report.judged.pairing import Found, Known, known_metrics
from sft.report.judged.recipes import compared
from sft.report.metrics import bounds
from sft.report.significance import Interval, RowSignificance, Significance
from sft.report.statistics.bootstrap import Draws, bca_bounds
from sft.report.statistics.intervals import Bounds, mean_bounds, share_bounds
from sft.report.statistics.sums import Floats, Sums

log = get_logger(__name__)

_RUNS_AT_ONCE = 32


def judge(comparison: Comparison, outcomes: Mapping[tuple[str, str], Outcomes]) -> Significance:
    """All that statistics say of a comparison.

    Args:
        comparison: the table.
        outcomes: of its runs, by run id and split; runs without are left out of what needs rows.
    """
    known, differing = known_metrics(comparison, outcomes)
    runs = _run_intervals(comparison, outcomes, known)
    intervals = _row_intervals(comparison, runs)
    found = compared(comparison, outcomes, known)
    rows = {
        key: RowSignificance(intervals.get(key), found.contrasts.get(key), found.ties.get(key), found.gaps.get(key))
        for key in dict.fromkeys([*intervals, *found.contrasts, *found.ties])
    }
    words = [*methods(comparison, rows, runs, differing), *withheld(known, runs, outcomes)]
    return Significance(rows, runs, tuple(words), tuple(_unread(comparison, outcomes)))


def _unread(comparison: Comparison, outcomes: Found) -> Iterable[str]:
    """The names of the finished runs whose judged rows could not be read; the reasons are told in the log."""
    found: dict[str, list[str]] = {}
    for run in comparison.runs:
        if run.metrics():
            outcome = outcomes.get((run.id, "test"))
            reason = "" if outcome is None else outcome.unread
            if outcome is None or reason:
                yield run.name
            if reason:
                found.setdefault(reason, []).append(run.name)
    for reason, names in found.items():
        log.warning("no statistics over the rows of %s: %s", some(names), reason)


def _run_intervals(comparison: Comparison, outcomes: Found, known: Known) -> dict[tuple[str, str], Interval]:
    """Over test rows, of each run's metrics."""
    by_size: dict[int, list[str]] = {}
    for run in comparison.runs:
        if known.get((run.id, "test")):
            by_size.setdefault(outcomes[run.id, "test"].rows, []).append(run.id)
    found: dict[tuple[str, str], Interval] = {}
    for size, ids in by_size.items():
        draws = Draws(size) if size >= FEWEST_ROWS else None
        for start in range(0, len(ids), _RUNS_AT_ONCE):
            together = {one: outcomes[one, "test"] for one in ids[start : start + _RUNS_AT_ONCE]}
            for one, intervals in _over_rows(together, draws).items():
                kept = known[one, "test"]
                found |= {(one, key): interval for key, interval in intervals.items() if key in kept}
    return found


def _over_rows(together: Mapping[str, Outcomes], draws: Draws | None) -> dict[str, dict[str, Interval]]:
    """The intervals over rows of some runs with equally many; without draws, those that need none."""
    parts = [(one, outcome, sums) for one, outcome in together.items() for sums in outcome.sums()]
    parts = [(one, outcome, sums) for one, outcome, sums in parts if not sums.unsure >= set(sums.values())]
    replicates = [{}] * len(parts) if draws is None else draws.replicates([sums for _, _, sums in parts])
    found: dict[str, dict[str, Interval]] = {one: {} for one in together}
    for (one, outcome, sums), replicated in zip(parts, replicates, strict=True):
        found[one] = row_intervals(sums, replicated, outcome.hits.keys()) | found[one]
    return found


def row_intervals(sums: Sums, replicated: Mapping[str, Floats], shares: Collection[str]) -> dict[str, Interval]:
    """Over test rows, of a run's metrics: BCa, or Wilson for shares of rows with few rows of either kind.

    Args:
        sums: of the run.
        replicated: its metrics in the draws [B].
        shares: which of them are shares of rows.
    """
    values, influences, rows = sums.values(), sums.pseudo_values(), len(sums)
    found = {}
    for metric, value in values.items():
        hits = round(value * rows)
        if metric in shares and min(hits, rows - hits) < FEWEST_FOR_BCA:
            found[metric] = Interval(*share_bounds(hits, rows), WILSON)
        elif (
            metric in replicated
            and metric not in sums.unsure
            and (ends := bca_bounds(value, replicated[metric], influences[metric])) is not None
        ):
            found[metric] = Interval(*ends, BCA)
    return found


def _row_intervals(comparison: Comparison, runs: Mapping[tuple[str, str], Interval]) -> dict[tuple[int, str], Interval]:
    """Of each row of the table: over seeds; over test rows where there is one run, or all seeds gave the same."""
    found = {}
    for index, row in enumerate(comparison.rows):
        for key in row.metrics():
            having = [run for run in row.runs if key in run.metrics()]
            of_seeds = mean_bounds([run.metrics()[key] for run in having])
            if of_seeds is not None:
                found[index, key] = Interval(*_within(of_seeds, key), f"t over {len(having)} seeds")
            elif (over_rows := runs.get((having[0].id, key))) is not None:
                seeds = len(having)
                method = over_rows.method if seeds == 1 else f"{over_rows.method}, since its {seeds} seeds agree"
                found[index, key] = over_rows._replace(method=method)
    return found


def _within(found: Bounds, metric: str) -> Bounds:
    """No further than the metric can go."""
    limits = bounds(metric)
    if limits is None:
        return found
    least, most = limits
    return Bounds(max(found.low, least), found.high if most is None else min(found.high, most))
