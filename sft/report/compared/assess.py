"""Significance of a table: intervals, contrasts with the baseline, ties with the best, and runs that cannot be tested.

Applies `sft.report.statistics` to the rows of the table; reads no files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sft.log import get_logger, some
from sft.report.compared.methods import BCA, FEWEST_FOR_BCA, FEWEST_ROWS, WILSON, methods, withheld
from sft.report.compared.outcomes import Outcomes
from sft.report.compared.pairing import MetricsByRun, OutcomesByRun, known_metrics
from sft.report.compared.recipes import compared
from sft.report.comparison import Comparison
from sft.report.metrics import bounds
from sft.report.significance import Interval, RowSignificance, Significance
from sft.report.statistics.bootstrap import Draws, bca_bounds
from sft.report.statistics.intervals import Bounds, mean_bounds, share_bounds
from sft.report.statistics.sums import Floats, Sums

log = get_logger(__name__)

_RUNS_AT_ONCE = 32


def assess(comparison: Comparison, outcomes: Mapping[tuple[str, str], Outcomes]) -> Significance:
    """Return all intervals and tests of a comparison.

    Args:
        comparison: the table.
        outcomes: outcomes of its runs, by run id and split; runs without outcomes have no statistics over rows.
    """
    known, differing = known_metrics(comparison, outcomes)
    runs = _run_intervals(comparison, outcomes, known)
    intervals = _row_intervals(comparison, runs)
    tests = compared(comparison, outcomes, known)
    rows = {
        key: RowSignificance(intervals.get(key), tests.contrasts.get(key), tests.ties.get(key), tests.gaps.get(key))
        for key in dict.fromkeys([*intervals, *tests.contrasts, *tests.ties])
    }
    words = [*methods(comparison, rows, runs, differing), *withheld(known, runs, outcomes)]
    return Significance(rows, runs, tuple(words), tuple(_unread(comparison, outcomes)))


def _unread(comparison: Comparison, outcomes: OutcomesByRun) -> Iterable[str]:
    """Yield the names of the finished runs whose rows could not be read, and log the reasons."""
    runs_by_reason: dict[str, list[str]] = {}
    for run in comparison.runs:
        if run.metrics():
            outcome = outcomes.get((run.id, "test"))
            reason = "" if outcome is None else outcome.unread
            if outcome is None or reason:
                yield run.name
            if reason:
                runs_by_reason.setdefault(reason, []).append(run.name)
    for reason, names in runs_by_reason.items():
        log.warning("no statistics over the rows of %s: %s", some(names), reason)


def _run_intervals(
    comparison: Comparison, outcomes: OutcomesByRun, known: MetricsByRun
) -> dict[tuple[str, str], Interval]:
    """Return the interval over test rows of each run's metrics."""
    by_size: dict[int, list[str]] = {}
    for run in comparison.runs:
        if known.get((run.id, "test")):
            by_size.setdefault(outcomes[run.id, "test"].rows, []).append(run.id)
    all_intervals: dict[tuple[str, str], Interval] = {}
    for size, ids in by_size.items():
        draws = Draws(size) if size >= FEWEST_ROWS else None
        for start in range(0, len(ids), _RUNS_AT_ONCE):
            batch = {one: outcomes[one, "test"] for one in ids[start : start + _RUNS_AT_ONCE]}
            for one, intervals in _over_rows(batch, draws).items():
                kept = known[one, "test"]
                all_intervals |= {(one, key): interval for key, interval in intervals.items() if key in kept}
    return all_intervals


def _over_rows(batch: Mapping[str, Outcomes], draws: Draws | None) -> dict[str, dict[str, Interval]]:
    """Return the intervals over rows of runs with equally many rows; without draws only those that need none."""
    parts = [(one, outcome, sums) for one, outcome in batch.items() for sums in outcome.sums()]
    parts = [(one, outcome, sums) for one, outcome, sums in parts if not sums.unsure >= set(sums.values())]
    replicates = [{}] * len(parts) if draws is None else draws.replicates([sums for _, _, sums in parts])
    intervals: dict[str, dict[str, Interval]] = {one: {} for one in batch}
    for (one, outcome, sums), replicated in zip(parts, replicates, strict=True):
        intervals[one] = row_intervals(sums, replicated, outcome.hits.keys()) | intervals[one]
    return intervals


def row_intervals(sums: Sums, replicated: Mapping[str, Floats], shares: Collection[str]) -> dict[str, Interval]:
    """Return the interval over test rows of a run's metrics: BCa, or Wilson for shares with few right or wrong rows.

    Args:
        sums: sums of the run.
        replicated: metrics of the run in each draw [B].
        shares: metrics that are shares of rows.
    """
    values, influences, rows = sums.values(), sums.pseudo_values(), len(sums)
    intervals = {}
    for metric, value in values.items():
        hits = round(value * rows)
        if metric in shares and min(hits, rows - hits) < FEWEST_FOR_BCA:
            intervals[metric] = Interval(*share_bounds(hits, rows), WILSON)
        elif (
            metric in replicated
            and metric not in sums.unsure
            and (ends := bca_bounds(value, replicated[metric], influences[metric])) is not None
        ):
            intervals[metric] = Interval(*ends, BCA)
    return intervals


def _row_intervals(comparison: Comparison, runs: Mapping[tuple[str, str], Interval]) -> dict[tuple[int, str], Interval]:
    """Return the interval of each row of the table: over seeds, or over test rows for one run or seeds that agree."""
    intervals = {}
    for index, row in enumerate(comparison.rows):
        for key in row.metrics():
            having = [run for run in row.runs if key in run.metrics()]
            of_seeds = mean_bounds([run.metrics()[key] for run in having])
            if of_seeds is not None:
                intervals[index, key] = Interval(*_within(of_seeds, key), f"t over {len(having)} seeds")
            elif (over_rows := runs.get((having[0].id, key))) is not None:
                seeds = len(having)
                method = over_rows.method if seeds == 1 else f"{over_rows.method}, since its {seeds} seeds agree"
                intervals[index, key] = over_rows._replace(method=method)
    return intervals


def _within(interval: Bounds, metric: str) -> Bounds:
    """Clip an interval to the range of the metric."""
    limits = bounds(metric)
    if limits is None:
        return interval
    least, most = limits
    return Bounds(max(interval.low, least), interval.high if most is None else min(interval.high, most))
