"""Which recipes differ: every pair of rows whose p or mark the table shows, decided by one procedure.

The comparisons with the baseline (Δ and p) and with the best row (`=`) read the same corrected p-values, so no two
marks of a table contradict each other. For each metric all pairs that could have been compared with the best share the
level of 5 %: which row is best is known only afterwards. The pairs with the baseline get at least three quarters of it.
Shapes: R rows of the table, C pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sft.report.comparison import Comparison
from sft.report.judged.contrasts import Tested, rows_tests
from sft.report.judged.pairing import Found, Known, Paired, paired_rows, same_rows
from sft.report.significance import SIGNIFICANT, Contrast, Gap, Interval, RowsTest
from sft.report.statistics.crossed import Recipe, crossed_variances
from sft.report.statistics.few_seeds import Variance, half_widths, p_values
from sft.report.statistics.paired import holm
from sft.report.statistics.sums import Floats

_OF_BASELINES = 0.75  # their share of the level, or more where there are few other pairs
_Key = tuple[int, str]  # index of a row of the table, metric
_Pair = tuple[int, int]  # indices of two rows of the table, the smaller one first


class Compared(NamedTuple):
    """The tests of a table's rows against each other, by (index, metric).

    Args:
        contrasts: against the baselines.
        ties: whether a row cannot be told apart from the best; nothing where that could not be tested.
        gaps: to the best.
    """

    contrasts: dict[_Key, Contrast]
    ties: dict[_Key, bool]
    gaps: dict[_Key, Gap]


class _PairTest(NamedTuple):
    """The difference of two rows' means, first minus second, with its test before the correction."""

    difference: float
    p_value: float
    interval: Interval | None
    test: str


@dataclass
class _Family:
    """All tests of a metric, which share one level.

    Args:
        contrasts: tests on rows alone, by index of the row that is compared with its baseline.
        shown: the pairs whose p or mark the table shows.
        others: p of all other pairs among which the best was found.
        competing: the rows that could have been best.
    """

    contrasts: dict[int, Tested] = field(default_factory=dict)
    shown: dict[_Pair, _PairTest] = field(default_factory=dict)
    others: list[Floats] = field(default_factory=list)
    competing: tuple[int, ...] = ()


def compared(comparison: Comparison, outcomes: Found, known: Known) -> Compared:
    """Test the rows of a table against their baselines and the best."""
    splits = {"test", comparison.chosen_on}
    comparable = comparison.comparable and all(same_rows(comparison, outcomes, split) for split in splits)
    families: dict[str, _Family] = {}
    for table in paired_rows(comparison, outcomes, known):
        best = comparison.best.get(table.metric, ()) if comparable else ()
        family = families.setdefault(table.metric, _Family())
        _Filling(comparison, table, family).fill(best if set(best) <= set(table.indices) else ())
    found = Compared({}, {}, {})
    for metric, family in families.items():
        corrected = _corrected(comparison, family)
        found.contrasts.update(_contrasts(comparison, metric, family, corrected))
        for index in family.competing:
            _against_best(comparison, (index, metric), family, corrected, found)
    if comparable:
        found.ties.update({(index, metric): True for metric, rows in comparison.best.items() for index in rows})
    return found


class _Filling:
    """Makes the tests of one table.

    Args:
        comparison: the whole table.
        table: its rows that were judged on the same test rows, and one metric.
        family: what is filled.
    """

    def __init__(self, comparison: Comparison, table: Paired, family: _Family) -> None:
        self._comparison, self._table, self._family = comparison, table, family
        self._place = {index: place for place, index in enumerate(table.indices)}
        self._means_R = np.array([one.values_S.mean() for one in table.recipes])

    def fill(self, best: Sequence[int]) -> None:
        """Test all rows against their baselines; and against the best, where there is one."""
        bases = {
            index: base
            for index in self._table.indices
            if (base := self._comparison.baseline_of(index)) is not None and base in self._place
        }
        tests = rows_tests(self._table, [(self._place[one], self._place[base]) for one, base in bases.items()])
        self._family.contrasts.update(zip(bases, tests, strict=True))
        by_rows = {_pair(*one): test for one, test in zip(bases.items(), tests, strict=True)}
        if best:
            self._among_all(best, by_rows)
        else:
            self._against(sorted(set(bases.values())), by_rows)

    def _against(self, bases: Sequence[int], by_rows: Mapping[_Pair, Tested]) -> None:
        """The pairs with a baseline alone."""
        recipes = self._table.recipes
        variance = crossed_variances([recipes[self._place[base]] for base in bases], recipes)
        pairs = list(by_rows)
        with_base = [(one, other) if one in bases else (other, one) for one, other in pairs]
        places = [bases.index(base) for base, _ in with_base], [self._place[row] for _, row in with_base]
        if pairs:
            self._test(pairs, variance.at(places), by_rows)

    def _among_all(self, best: Sequence[int], by_rows: Mapping[_Pair, Tested]) -> None:
        """These, the pairs with the best, and what all others among which the best was found come to."""
        rows = self._comparison.rows
        whole = [one for one in self._table.indices if rows[one].is_whole(self._table.metric)]
        self._family.competing = tuple(whole)
        with_best = {_pair(one, other): None for one in whole for other in best if one != other}
        pairs = list(by_rows) + [pair for pair in with_best if pair not in by_rows]
        places = [self._place[one] for one, _ in pairs], [self._place[other] for _, other in pairs]
        variance = crossed_variances(self._table.recipes, self._table.recipes)
        p_C = p_values(self._means_R[places[0]] - self._means_R[places[1]], variance.at(places))
        near = [pair for pair, p in zip(pairs, p_C, strict=True) if p <= SIGNIFICANT and pair not in by_rows]
        tests = rows_tests(self._table, [(self._place[one], self._place[other]) for one, other in near])
        self._test(pairs, variance.at(places), {**by_rows, **dict(zip(near, tests, strict=True))})
        others_RR = np.zeros(variance.rows_C.shape, dtype=np.bool_)
        competing = [self._place[one] for one in whole]
        others_RR[np.ix_(competing, competing)] = True
        others_RR[places] = others_RR[places[::-1]] = False
        others = np.nonzero(np.triu(others_RR, 1))
        p_C = p_values(self._means_R[others[0]] - self._means_R[others[1]], variance.at(others), rough=True)
        self._family.others.append(p_C[~np.isnan(p_C)])

    def _test(self, pairs: Sequence[_Pair], variance: Variance, by_rows: Mapping[_Pair, Tested]) -> None:
        """Test the pairs that the table shows, but those with too few seeds.

        Recipes differ no more surely than these models do: p is at least that of the test on rows alone, which is exact
        where few rows differ.
        """
        recipes = [tuple(self._table.recipes[self._place[one]] for one in pair) for pair in pairs]
        difference_C = np.array([mine.values_S.mean() - theirs.values_S.mean() for mine, theirs in recipes])
        p_C, half_C = p_values(difference_C, variance), half_widths(variance)
        found = zip(difference_C.tolist(), p_C.tolist(), half_C.tolist(), strict=True)
        for pair, (mine, theirs), (difference, p, half) in zip(pairs, recipes, found, strict=True):
            if np.isnan(p):
                continue
            words, test = _words(mine, theirs), by_rows.get(pair)
            interval = None if np.isnan(half) else Interval(difference - half, difference + half, words)
            if test is not None and not mine.seeds and not theirs.seeds:
                self._family.shown[pair] = _PairTest(difference, test.p_value, interval, test.test)
            else:
                least = 0.0 if test is None else test.lower_bound
                self._family.shown[pair] = _PairTest(difference, max(p, least), interval, words)


def _pair(one: int, other: int) -> _Pair:
    return (one, other) if one < other else (other, one)


def _turned(test: _PairTest) -> _PairTest:
    interval = test.interval
    turned = None if interval is None else Interval(-interval.high, -interval.low, interval.method)
    return test._replace(difference=-test.difference, interval=turned)


def _words(mine: Recipe, theirs: Recipe) -> str:
    """`over rows and 3 paired seeds`."""
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
    """The p of each pair that the table shows, corrected for all that was tested."""
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
            found = Contrast(difference, test.effect_size, None, None, None, "", models)
        else:
            interval = (tested if index < base else _turned(tested)).interval
            found = Contrast(
                difference, test.effect_size, interval, tested.p_value, corrected[pair], tested.test, models
            )
        yield (index, metric), found


def _against_best(
    comparison: Comparison, key: _Key, family: _Family, corrected: Mapping[_Pair, float], found: Compared
) -> None:
    """Whether a row is told apart from the best; where several rows are best, from any of them."""
    index, metric = key
    best = comparison.best[metric]
    pairs = [_pair(index, one) for one in best if one != index]
    known = [corrected[pair] for pair in pairs if pair in corrected]
    if index in best or not known:
        return
    if min(known) <= SIGNIFICANT or len(known) == len(pairs):
        found.ties[key] = min(known) > SIGNIFICANT
        pair = min((pair for pair in pairs if pair in corrected), key=lambda one: corrected[one])
        tested = family.shown[pair] if pair[0] == index else _turned(family.shown[pair])
        found.gaps[key] = Gap(tested.difference, tested.interval, corrected[pair])
