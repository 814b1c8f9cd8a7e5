"""Interval and tests of one metric of one row of the table: plain values, no arithmetic."""

from __future__ import annotations

from typing import NamedTuple

SIGNIFICANT = 0.05


class Interval(NamedTuple):
    """A 95 % confidence interval and its method, as shown under the table (`t over 3 seeds`)."""

    low: float
    high: float
    method: str


class RowsTest(NamedTuple):
    """A test on the test rows alone: whether these trained models differ. It says nothing about other seeds.

    Args:
        p_value: two-sided, of the paired test.
        p_holm: p_value, Holm-corrected over the rows of the table.
        test: name of the test: `McNemar, exact`, `sign flips, exact`, `permutation of 9,999`.
    """

    p_value: float
    p_holm: float
    test: str


class Contrast(NamedTuple):
    """Comparison of a row with the baseline on the same test rows.

    Args:
        difference: of the means, the row's minus the baseline's.
        effect_size: Cohen's d of the paired rows (difference over the standard deviation of the rows' differences);
            None where it is not defined.
        interval: 95 % interval of the difference, rows and seeds both sampled; None where p is None or nothing varies.
        p_value: two-sided, rows and seeds both sampled; None where one of the recipes is random and has one run: one
            seed does not show how much other seeds differ.
        p_holm: p_value, corrected over the pairs of the table.
        test: sampling of the test: `over rows and 3 paired seeds`; empty without p.
        models: the test on the rows alone.
    """

    difference: float
    effect_size: float | None
    interval: Interval | None
    p_value: float | None
    p_holm: float | None
    test: str
    models: RowsTest

    @property
    def is_significant(self) -> bool:
        """Whether the recipes differ significantly, rows and seeds both sampled."""
        return self.p_holm is not None and self.p_holm <= SIGNIFICANT


class Gap(NamedTuple):
    """Comparison of a row with the best: difference of the means, its 95 % interval and the corrected p."""

    difference: float
    interval: Interval | None
    p_holm: float


class RowSignificance(NamedTuple):
    """Interval and tests of one metric of one row.

    Args:
        interval: interval of its mean, over seeds or for a single run over test rows; None where neither is possible.
        contrast: comparison with the baseline; None for the baseline itself and where rows cannot be paired.
        tied_with_best: whether it cannot be distinguished from the best row (true for the best itself); None where it
            was not tested.
        to_best: difference to the best; None for the best itself and where it was not tested.
    """

    interval: Interval | None = None
    contrast: Contrast | None = None
    tied_with_best: bool | None = None
    to_best: Gap | None = None


class Significance(NamedTuple):
    """Intervals and tests of a whole comparison.

    Args:
        rows: significance on the test split, by (index of the row, metric).
        runs: interval over test rows, by (id of the run, metric).
        methods: sentences on the methods, shown under the table.
        unread: names of the finished runs whose rows could not be read.
    """

    rows: dict[tuple[int, str], RowSignificance]
    runs: dict[tuple[str, str], Interval]
    methods: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


NO_SIGNIFICANCE = Significance({}, {})
