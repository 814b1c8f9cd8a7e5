"""Intervals and tests of a metric of a row of the table. Plain data, no arithmetic."""

from __future__ import annotations

from typing import NamedTuple

SIGNIFICANT = 0.05


def is_significant(p_value: float | None) -> bool:
    """Return whether a corrected p is at most `SIGNIFICANT`; False without one."""
    return p_value is not None and p_value <= SIGNIFICANT


class Interval(NamedTuple):
    """A 95 % confidence interval and its method in words (`t over 3 seeds`), which are shown under the table."""

    low: float
    high: float
    method: str


class RowsTest(NamedTuple):
    """A paired test on the test rows alone: do these trained models differ? Seeds are not sampled.

    Args:
        p_value: two-sided.
        p_holm: corrected by Holm over the rows of the table.
        test: name of the test: `McNemar, exact`, `sign flips, exact`, `permutation of 9,999`.
    """

    p_value: float
    p_holm: float
    test: str


class Contrast(NamedTuple):
    """A row against the baseline, on the same test rows.

    Args:
        difference: the row's mean minus the baseline's.
        effect_size: Cohen's d of the paired rows (difference over the standard deviation of the rows' differences);
            None if it is not defined.
        interval: 95 % interval of the difference, rows and seeds both sampled; None if p is None or nothing varies.
        p_value: two-sided, rows and seeds both sampled; None if the row or the baseline is random and has one run,
            since one seed does not show how much other seeds would change the result.
        p_holm: corrected by Holm over the pairs of the table.
        test: name of the test: `over rows and 3 paired seeds`; empty without p.
        models: the test on the test rows alone.
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
        return is_significant(self.p_holm)


class Gap(NamedTuple):
    """A row against the best row: its mean minus the best mean, the 95 % interval of that, and the corrected p."""

    difference: float
    interval: Interval | None
    p_holm: float


class RowSignificance(NamedTuple):
    """The interval and tests of a metric of a row.

    Args:
        interval: of the mean: over seeds, or for a single run over test rows; None if neither is possible.
        contrast: against the baseline; None for the baseline itself and for rows that cannot be paired.
        tied_with_best: whether the row is not significantly different from the best row (true for the best row);
            None without a test.
        to_best: difference to the best row; None for the best row and without a test.
    """

    interval: Interval | None = None
    contrast: Contrast | None = None
    tied_with_best: bool | None = None
    to_best: Gap | None = None


class Significance(NamedTuple):
    """Intervals and tests of a whole comparison.

    Args:
        rows: by (index of the row, metric); of the test split.
        runs: interval over test rows by (id of the run, metric); of the test split.
        methods: sentences on how they were computed, to show under the table.
        unread: names of the finished runs whose evaluated rows could not be read.
    """

    rows: dict[tuple[int, str], RowSignificance]
    runs: dict[tuple[str, str], Interval]
    methods: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


NO_SIGNIFICANCE = Significance({}, {})
