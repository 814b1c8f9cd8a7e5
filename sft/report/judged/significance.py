"""How sure a table is: intervals, contrasts with the baseline and ties with the best, and what could not be judged.

Puts together the arithmetic of `sft.report.statistics` and the rows of the table; reads no files. What test rows can
tell concerns the models as they were trained here; how far other seeds would move a figure, only seeds can tell.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial

import numpy as np

from sft.log import get_logger, some
from sft.report.comparison import Comparison, Row
from sft.report.judged.contrasts import Tested, exchange_of_runs, tests_against_baselines
from sft.report.judged.judgement import Contrast, Interval, Judgement, Significance
from sft.report.judged.methods import BCA, FEWEST_FOR_BCA, FEWEST_ROWS, WILSON, methods, withheld
from sft.report.judged.outcomes import Outcomes
from sft.report.judged.pairing import Found, Known, Paired, known_metrics, paired_rows, same_rows
from sft.report.metrics import best_of, bounds
from sft.report.statistics.bootstrap import Draws, bca_bounds
from sft.report.statistics.intervals import Bounds, difference_bounds, mean_bounds, share_bounds
from sft.report.statistics.paired import holm
from sft.report.statistics.sums import Floats, Sums
from sft.report.statistics.ties import tied_with_best

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
    contrasts = _contrasts(comparison, paired_rows(comparison, outcomes, known, "test", whole=False))
    ties = _ties(comparison, outcomes, known)
    behind = dict(_behind_over_seeds(comparison, ties))
    rows = {
        key: Judgement(intervals.get(key), contrasts.get(key), ties.get(key), behind.get(key))
        for key in dict.fromkeys([*intervals, *contrasts, *ties])
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


def _contrasts(comparison: Comparison, tables: Iterable[Paired]) -> dict[tuple[int, str], Contrast]:
    """Of each row of the table with its baseline, corrected over the rows for each metric."""
    tested: dict[str, dict[int, Tested]] = {}
    for table in tables:
        tested.setdefault(table.metric, {}).update(tests_against_baselines(comparison, table))
    found = {}
    for metric, by_row in tested.items():
        corrected = holm([one.p_value for one in by_row.values()])
        for (index, one), p_holm in zip(by_row.items(), corrected, strict=True):
            base = comparison.baseline_of(index)
            if base is None:
                continue
            mine, theirs = _figures(comparison.rows[index], metric), _figures(comparison.rows[base], metric)
            found[index, metric] = Contrast(
                float(np.mean(mine) - np.mean(theirs)), one.effect_size, one.p_value, p_holm, one.test,
                _over_seeds(comparison.rows[index], comparison.rows[base], metric, "test"),
            )  # fmt: skip
    return found


def _over_seeds(mine: Row, theirs: Row, metric: str, split: str) -> Interval | None:
    """How far other seeds could move the difference of two rows; None where seeds do not tell.

    A row with nothing random (zero-shot without examples) is the same whatever the seed: a constant.
    """
    first, second = _figures(mine, metric, split), _figures(theirs, metric, split)
    if not first or not second:
        return None
    if _is_fixed(mine) or _is_fixed(theirs):
        several = [a - second[0] for a in first] if _is_fixed(theirs) else [first[0] - b for b in second]
        found = mean_bounds(several)
        return None if found is None else Interval(*found, f"t over {len(several)} seeds")
    found = difference_bounds(first, second)
    return None if found is None else Interval(*found, f"Welch over {len(first)} and {len(second)} seeds")


def _is_fixed(row: Row) -> bool:
    return len(row.runs) == 1 and row.runs[0].is_fixed


def _figures(row: Row, metric: str, split: str = "test") -> list[float]:
    return [run.metrics(split)[metric] for run in row.runs if metric in run.metrics(split)]


def _behind_over_seeds(
    comparison: Comparison, ties: Mapping[tuple[int, str], bool]
) -> Iterable[tuple[tuple[int, str], Interval]]:
    """For the rows that the test rows tell apart from the best: whether seeds do too."""
    for (index, metric), tied in ties.items():
        best = comparison.rows[comparison.best[metric][0]]
        if not tied and (found := _over_seeds(comparison.rows[index], best, metric, comparison.chosen_on)) is not None:
            yield (index, metric), found


def _ties(comparison: Comparison, outcomes: Found, known: Known) -> dict[tuple[int, str], bool]:
    """Whether a row cannot be told from the best, on the split on which the best was chosen."""
    same = comparison.comparable and all(same_rows(comparison, outcomes, s) for s in {"test", comparison.chosen_on})
    best = {key: rows for key, rows in comparison.best.items() if rows and same}
    found = {(index, metric): True for metric, rows in best.items() for index in rows}
    for table in paired_rows(comparison, outcomes, known, comparison.chosen_on, whole=True):
        if table.metric not in best or not set(best[table.metric]) <= set(table.indices):
            continue
        higher = best_of(table.metric, (0.0, 1.0))
        if higher is not None:
            p_value = partial(exchange_of_runs, table)
            tied_R = tied_with_best(table.values_RN.T, higher == 1.0, table.seeds, p_value).tolist()
            new = {(index, table.metric): tied for index, tied in zip(table.indices, tied_R, strict=True)}
            found |= new | {(index, table.metric): True for index in best[table.metric]}
    return found
