"""How sure a table is: intervals, contrasts with the baseline and ties with the best, and how they were made, in words.

Puts together the arithmetic of `sft.report.statistics` and the rows of the table; reads no files. What test rows can
tell concerns the models as they were trained here; how far other seeds would move a figure, only seeds can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import lcm
from typing import NamedTuple

import numpy as np

from sft.report.comparison import Comparison, Row
from sft.report.judgement import Contrast, Interval, Judgement, Significance
from sft.report.metrics import best_of, bounds, title
from sft.report.outcomes import Outcomes
from sft.report.pairing import Found, Known, Paired, known_metrics, paired_rows
from sft.report.statistics.bootstrap import DRAWS, Draws, bca_bounds
from sft.report.statistics.intervals import Bounds, difference_bounds, mean_bounds, share_bounds
from sft.report.statistics.paired import effect_size, holm, mcnemar, permutation, sign_flips
from sft.report.statistics.sums import Floats, Sums
from sft.report.statistics.ties import tied_with_best

BCA = "BCa bootstrap over test rows"
WILSON = "Wilson over test rows"
_MCNEMAR = "McNemar, exact"
_SIGN_FLIPS = "sign flips, exact"
_FEWEST_ROWS = 20  # of a bootstrap
_FEWEST_OF_A_KIND = 50  # right and wrong: with fewer, a share takes too few values and BCa covers up to 98 %, Wilson 95
_FEWEST_FLIPS = 9_999
_FLIPS_PER_TEST = 50  # so that Holm's smallest p-value is well below 5 %
_RUNS_AT_ONCE = 32


class _Tested(NamedTuple):
    """A row of the table against its baseline, before the correction."""

    effect_size: float | None
    p_value: float
    test: str


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
    return Significance(rows, runs, tuple(_methods(comparison, rows, runs, differing)))


def _run_intervals(comparison: Comparison, outcomes: Found, known: Known) -> dict[tuple[str, str], Interval]:
    """Over test rows, of each run's metrics."""
    by_size: dict[int, list[str]] = {}
    for run in comparison.runs:
        if known.get((run.id, "test")):
            by_size.setdefault(outcomes[run.id, "test"].rows, []).append(run.id)
    found: dict[tuple[str, str], Interval] = {}
    for size, ids in by_size.items():
        draws = Draws(size) if size >= _FEWEST_ROWS else None
        for start in range(0, len(ids), _RUNS_AT_ONCE):
            some = {one: outcomes[one, "test"] for one in ids[start : start + _RUNS_AT_ONCE]}
            for one, intervals in _over_rows(some, draws).items():
                kept = known[one, "test"]
                found |= {(one, key): interval for key, interval in intervals.items() if key in kept}
    return found


def _over_rows(some: Mapping[str, Outcomes], draws: Draws | None) -> dict[str, dict[str, Interval]]:
    """The intervals over rows of some runs with equally many; without draws, those that need none."""
    parts = [(one, outcome, sums) for one, outcome in some.items() for sums in outcome.sums() if sums.resampled]
    replicates = [{}] * len(parts) if draws is None else draws.replicates([sums for _, _, sums in parts])
    found: dict[str, dict[str, Interval]] = {one: {} for one in some}
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
        if metric in shares and min(hits, rows - hits) < _FEWEST_OF_A_KIND:
            found[metric] = Interval(*share_bounds(hits, rows), WILSON)
        elif metric in replicated and (ends := bca_bounds(value, replicated[metric], influences[metric])) is not None:
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
    tested: dict[str, dict[int, _Tested]] = {}
    for table in tables:
        tested.setdefault(table.metric, {}).update(_tests(comparison, table))
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


def _tests(comparison: Comparison, table: Paired) -> dict[int, _Tested]:
    """The rows of the table that have their baseline beside them."""
    place = {index: position for position, index in enumerate(table.indices)}
    pairs = {
        index: (position, place[base])
        for index, position in place.items()
        if (base := comparison.baseline_of(index)) is not None and base in place
    }
    if not pairs:
        return {}
    sizes = {
        index: effect_size(table.values_RN[mine].astype(np.float64) - table.values_RN[theirs])
        for index, (mine, theirs) in pairs.items()
    }
    if table.shares:
        return {index: _Tested(sizes[index], *_exact(table, *pair)) for index, pair in pairs.items()}
    flips = max(_FEWEST_FLIPS, _FLIPS_PER_TEST * len(pairs))
    p_values = permutation(table.values_RN.T, list(pairs.values()), flips).tolist()
    name = f"permutation of {flips:,}"
    return {index: _Tested(sizes[index], p, name) for index, p in zip(pairs, p_values, strict=True)}


def _exact(table: Paired, mine: int, theirs: int) -> tuple[float, str]:
    """p of outcomes of 0 and 1, and the name of the test."""
    first_N, second_N = table.values_RN[mine], table.values_RN[theirs]
    if table.seeds[mine] == table.seeds[theirs] == 1:
        return mcnemar(first_N > 0.5, second_N > 0.5), _MCNEMAR
    scale = lcm(table.seeds[mine], table.seeds[theirs])  # makes whole numbers of means over seeds
    return sign_flips(np.rint((first_N.astype(np.float64) - second_N) * scale).astype(np.int64)), _SIGN_FLIPS


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
    """Whether nothing in it is random: its id then has no seed in it."""
    return len(row.runs) == 1 and row.runs[0].id == row.runs[0].recipe_id


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
    best = {key: rows for key, rows in comparison.best.items() if rows and comparison.comparable}
    found = {(index, metric): True for metric, rows in best.items() for index in rows}
    for table in paired_rows(comparison, outcomes, known, comparison.chosen_on, whole=True):
        if table.metric not in best or not set(best[table.metric]) <= set(table.indices):
            continue
        higher = best_of(table.metric, (0.0, 1.0))
        if higher is not None:
            tied_R = tied_with_best(table.values_RN.T, higher == 1.0).tolist()
            new = {(index, table.metric): tied for index, tied in zip(table.indices, tied_R, strict=True)}
            found |= new | {(index, table.metric): True for index in best[table.metric]}
    return found


def _methods(
    comparison: Comparison,
    rows: Mapping[tuple[int, str], Judgement],
    runs: Mapping[tuple[str, str], Interval],
    differing: Sequence[str],
) -> Iterable[str]:
    """What a reader has to know of how all this was made."""
    yield from _of_intervals([one.interval for one in rows.values() if one.interval is not None], runs)
    yield from _of_contrasts([one.contrast for one in rows.values() if one.contrast is not None])
    if any(one.tied_with_best is not None for one in rows.values()) and len(comparison.rows) > 1:
        split = "validation" if comparison.chosen_on == "validation" else "test"
        yield (
            f"Tied with the best: no other row is better by a test of all pairs at once on the {split} rows (largest "
            "statistic of all pairs under random signs of the rows, 5 % over all pairs together)."
        )
    if any(one.contrast is not None or one.tied_with_best is not None for one in rows.values()):
        yield (
            "Tests and intervals over rows hold for the models as trained here; what other seeds would change, the "
            "spread over seeds beside them says."
        )
    if differing:
        names = ", ".join(map(title, differing))
        yield f"No statistics over rows for {names} of some runs: their predictions give other figures than the result."


def _of_intervals(shown: Sequence[Interval], runs: Mapping[tuple[str, str], Interval]) -> Iterable[str]:
    by_seeds = any(one.method.startswith("t over") for one in shown)
    methods = {one.method for one in (*shown, *runs.values())}
    by_rows = [words for start, words in _INTERVALS_OVER_ROWS.items() if any(m.startswith(start) for m in methods)]
    if by_seeds:
        yield (
            "95 % intervals of rows with several seeds: Student's t with n - 1 degrees of freedom over seeds, for "
            "these test rows."
        )
    if by_rows:
        of = "Of single runs" if by_seeds else "95 % intervals"
        yield f"{of}: over test rows, {'; '.join(by_rows)}."


def _of_contrasts(contrasts: Sequence[Contrast]) -> Iterable[str]:
    if not contrasts:
        return
    tests = dict.fromkeys(one.test for one in contrasts)
    said = [words(one) for start, words in _TESTS.items() for one in tests if one.startswith(start)]
    yield (
        "p: two-sided paired tests against the baseline on the same test rows, on outcomes averaged over seeds "
        f"({'; '.join(said)}). p (Holm) is corrected over the rows of the table, for each metric by itself."
    )


_INTERVALS_OVER_ROWS = {
    BCA: f"bootstrap BCa of {DRAWS:,} draws",
    WILSON: f"Wilson for shares with fewer than {_FEWEST_OF_A_KIND} rows right or wrong",
}
_TESTS: Mapping[str, Callable[[str], str]] = {
    _MCNEMAR: lambda _: "McNemar's exact test for shares of rows of single runs",
    _SIGN_FLIPS: lambda _: "exact permutation for shares of rows averaged over seeds",
    "permutation": lambda test: (
        f"{test.replace('permutation of', 'permutation by')} random sign flips of the rows' differences for other "
        "metrics, each row with its jackknife pseudo-value where the metric is no mean over rows"
    ),
}
