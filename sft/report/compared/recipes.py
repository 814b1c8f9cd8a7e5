"""Tests of which recipes differ: one procedure for every pair of rows whose p or mark the table shows.

The comparisons with the baseline (Δ and p) and with the best row (`=`) use the same corrected p-values, so the marks of
a table never contradict each other. All pairs that could have been compared with the best share the level of 5 % of a
metric, since the best row is known only afterwards. The pairs with the baseline get at least three quarters of it.
Shapes: R rows of the table, C pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sft.report.compared.contrasts import Tested, rows_tests
from sft.report.compared.pairing import MetricsByRun, OutcomesByRun, Paired, paired_rows, same_rows
from sft.report.comparison import Comparison
from sft.report.significance import Contrast, Gap, Interval, RowsTest, is_significant
from sft.report.statistics.crossed import Recipe, crossed_variances
from sft.report.statistics.few_seeds import Variance, half_widths, p_values
from sft.report.statistics.paired import holm
from sft.report.statistics.sums import Floats

_OF_BASELINES = 0.75  # their share of the level, more if there are few other pairs
_Key = tuple[int, str]  # index of a row of the table, metric
_Pair = tuple[int, int]  # indices of two rows of the table, the smaller one first


class Compared(NamedTuple):
    """Tests of a table's rows against each other, by (index, metric).

    Args:
        contrasts: differences to the baselines.
        ties: whether a row cannot be distinguished from the best; no entry where it was not tested.
        gaps: differences to the best.
    """

    contrasts: dict[_Key, Contrast]
    ties: dict[_Key, bool]
    gaps: dict[_Key, Gap]


class _PairTest(NamedTuple):
    """Difference of two rows' means, first minus second, with its test before the correction."""

    difference: float
    p_value: float
    interval: Interval | None
    test: str


@dataclass
class _Family:
    """All tests of one metric; they share one level.

    Args:
        contrasts: tests on rows alone, by index of the row compared with its baseline.
        shown: the pairs whose p or mark the table shows.
        others: p of all other pairs among which the best was chosen.
        competing: rows that could have been best.
    """

    contrasts: dict[int, Tested] = field(default_factory=dict)
    shown: dict[_Pair, _PairTest] = field(default_factory=dict)
    others: list[Floats] = field(default_factory=list)
    competing: tuple[int, ...] = ()


def compared(comparison: Comparison, outcomes: OutcomesByRun, known: MetricsByRun) -> Compared:
    """Test the rows of a table against their baselines and the best."""
    splits = {"test", comparison.chosen_on}
    comparable = comparison.comparable and all(same_rows(comparison, outcomes, split) for split in splits)
    families: dict[str, _Family] = {}
    for table in paired_rows(comparison, outcomes, known):
        best = comparison.best.get(table.metric, ()) if comparable else ()
        family = families.setdefault(table.metric, _Family())
        _PairTests(comparison, table, family).add(best if set(best) <= set(table.indices) else ())
    result = Compared({}, {}, {})
    for metric, family in families.items():
        corrected = _corrected(comparison, family)
        result.contrasts.update(_contrasts(comparison, metric, family, corrected))
        for index in family.competing:
            _against_best(comparison, (index, metric), family, corrected, result)
    if comparable:
        result.ties.update({(index, metric): True for metric, rows in comparison.best.items() for index in rows})
    return result


class _PairTests:
    """Adds the tests of one table to a family.

    Args:
        comparison: the whole table.
        table: its rows that were evaluated on the same test rows, and one metric.
        family: family of tests that is filled.
    """

    def __init__(self, comparison: Comparison, table: Paired, family: _Family) -> None:
        self._comparison, self._table, self._family = comparison, table, family
        self._position = {index: position for position, index in enumerate(table.indices)}
        self._means_R = np.array([one.values_S.mean() for one in table.recipes])

    def add(self, best: Sequence[int]) -> None:
        """Test all rows against their baselines, and against the best rows if there are any."""
        bases = {
            index: base
            for index in self._table.indices
            if (base := self._comparison.baseline_of(index)) is not None and base in self._position
        }
        tests = rows_tests(self._table, [(self._position[one], self._position[base]) for one, base in bases.items()])
        self._family.contrasts.update(zip(bases, tests, strict=True))
        by_rows = {_pair(*one): test for one, test in zip(bases.items(), tests, strict=True)}
        if best:
            self._among_all(best, by_rows)
        else:
            self._against(sorted(set(bases.values())), by_rows)

    def _against(self, bases: Sequence[int], by_rows: Mapping[_Pair, Tested]) -> None:
        """Test only the pairs with a baseline."""
        recipes = self._table.recipes
        variance = crossed_variances([recipes[self._position[base]] for base in bases], recipes)
        pairs = list(by_rows)
        with_base = [(one, other) if one in bases else (other, one) for one, other in pairs]
        index = [bases.index(base) for base, _ in with_base], [self._position[row] for _, row in with_base]
        if pairs:
            self._test(pairs, variance.at(index), by_rows)

    def _among_all(self, best: Sequence[int], by_rows: Mapping[_Pair, Tested]) -> None:
        """Test the pairs with a baseline or the best, and collect the p of all other competing pairs."""
        rows = self._comparison.rows
        whole = [one for one in self._table.indices if rows[one].is_whole(self._table.metric)]
        self._family.competing = tuple(whole)
        with_best = {_pair(one, other): None for one in whole for other in best if one != other}
        pairs = list(by_rows) + [pair for pair in with_best if pair not in by_rows]
        index = [self._position[one] for one, _ in pairs], [self._position[other] for _, other in pairs]
        variance = crossed_variances(self._table.recipes, self._table.recipes)
        p_C = p_values(self._means_R[index[0]] - self._means_R[index[1]], variance.at(index))
        near = [pair for pair, p in zip(pairs, p_C, strict=True) if is_significant(p) and pair not in by_rows]
        tests = rows_tests(self._table, [(self._position[one], self._position[other]) for one, other in near])
        self._test(pairs, variance.at(index), {**by_rows, **dict(zip(near, tests, strict=True))})
        others_RR = np.zeros(variance.rows_C.shape, dtype=np.bool_)
        competing = [self._position[one] for one in whole]
        others_RR[np.ix_(competing, competing)] = True
        others_RR[index] = others_RR[index[::-1]] = False
        others = np.nonzero(np.triu(others_RR, 1))
        p_C = p_values(self._means_R[others[0]] - self._means_R[others[1]], variance.at(others), rough=True)
        self._family.others.append(p_C[~np.isnan(p_C)])

    def _test(self, pairs: Sequence[_Pair], variance: Variance, by_rows: Mapping[_Pair, Tested]) -> None:
        """Test the pairs that the table shows, except those with too few seeds.

        Recipes cannot differ more significantly than these models: p is at least that of the test on rows alone, which
        is exact where few rows differ.
        """
        recipes = [tuple(self._table.recipes[self._position[one]] for one in pair) for pair in pairs]
        difference_C = np.array([mine.values_S.mean() - theirs.values_S.mean() for mine, theirs in recipes])
        p_C, half_C = p_values(difference_C, variance), half_widths(variance)
        values = zip(difference_C.tolist(), p_C.tolist(), half_C.tolist(), strict=True)
        for pair, (mine, theirs), (difference, p, half) in zip(pairs, recipes, values, strict=True):
            if np.isnan(p):
                continue
            sampling, test = _sampling(mine, theirs), by_rows.get(pair)
            interval = None if np.isnan(half) else Interval(difference - half, difference + half, sampling)
            if test is not None and not mine.seeds and not theirs.seeds:
                self._family.shown[pair] = _PairTest(difference, test.p_value, interval, test.test)
            else:
                least = 0.0 if test is None else test.lower_bound
                self._family.shown[pair] = _PairTest(difference, max(p, least), interval, sampling)


def _pair(one: int, other: int) -> _Pair:
    return (one, other) if one < other else (other, one)


def _reversed(test: _PairTest) -> _PairTest:
    interval = test.interval
    interval_reversed = None if interval is None else Interval(-interval.high, -interval.low, interval.method)
    return test._replace(difference=-test.difference, interval=interval_reversed)


def _sampling(mine: Recipe, theirs: Recipe) -> str:
    """Describe the sampling of a test: `over rows and 3 paired seeds`."""
    numbers = sorted(len(one.seeds) for one in (mine, theirs) if one.seeds)
    if not numbers:
        return "over rows"
    if len(numbers) == 1:
        return f"over rows and {numbers[0]} seeds"
    both = len(set(mine.seeds) & set(theirs.seeds))
    if both == max(numbers):
        return f"over rows and {both} paired seeds"
    of = f", {both} of them paired" if both > 1 else ""
    return f"over rows, {numbers[0]} and {numbers[1]} seeds{of}"


def _corrected(comparison: Comparison, family: _Family) -> dict[_Pair, float]:
    """Return the p of each pair that the table shows, corrected for all tests of the family."""
    shown = list(family.shown)
    others_C = np.concatenate([np.zeros(0), *family.others])
    with_base = [comparison.baseline_of(one) == other or comparison.baseline_of(other) == one for one, other in shown]
    bases, rest = sum(with_base), len(shown) - sum(with_base) + len(others_C)
    of_bases = max(_OF_BASELINES, bases / max(1, bases + rest)) if bases and rest else 0.5
    weights = [of_bases / bases if one else (1 - of_bases) / rest for one in with_base]
    weights_C = np.concatenate([weights, np.full(len(others_C), (1 - of_bases) / max(1, rest))])
    p_C = np.concatenate([[one.p_value for one in family.shown.values()], others_C])
    return dict(zip(shown, holm(p_C, weights_C)[: len(shown)].tolist(), strict=True))


def _contrasts(
    comparison: Comparison, metric: str, family: _Family, corrected: Mapping[_Pair, float]
) -> Iterator[tuple[_Key, Contrast]]:
    by_rows = holm([one.p_value for one in family.contrasts.values()]).tolist()
    for (index, test), p_holm in zip(family.contrasts.items(), by_rows, strict=True):
        base = comparison.baseline_of(index)
        mine, theirs = (None if one is None else comparison.rows[one].estimate(metric) for one in (index, base))
        if base is None or mine is None or theirs is None:
            continue
        pair, models = _pair(index, base), RowsTest(test.p_value, p_holm, test.test)
        difference, tested = mine.mean - theirs.mean, family.shown.get(pair)
        if tested is None:
            contrast = Contrast(difference, test.effect_size, None, None, None, "", models)
        else:
            interval = (tested if index < base else _reversed(tested)).interval
            contrast = Contrast(
                difference, test.effect_size, interval, tested.p_value, corrected[pair], tested.test, models
            )
        yield (index, metric), contrast


def _against_best(
    comparison: Comparison, key: _Key, family: _Family, corrected: Mapping[_Pair, float], result: Compared
) -> None:
    """Record whether a row differs from the best; if several rows are best, from any of them."""
    index, metric = key
    best = comparison.best[metric]
    pairs = [_pair(index, one) for one in best if one != index]
    known = [corrected[pair] for pair in pairs if pair in corrected]
    if index in best or not known:
        return
    if is_significant(min(known)) or len(known) == len(pairs):
        result.ties[key] = not is_significant(min(known))
        pair = min((pair for pair in pairs if pair in corrected), key=lambda one: corrected[one])
        tested = family.shown[pair] if pair[0] == index else _reversed(family.shown[pair])
        result.gaps[key] = Gap(tested.difference, tested.interval, corrected[pair])
