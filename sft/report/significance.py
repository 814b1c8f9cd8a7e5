"""What statistics say of one metric of one row of the table, beside its mean: plain values, no arithmetic."""

from __future__ import annotations

from typing import NamedTuple

SIGNIFICANT = 0.05


class Interval(NamedTuple):
    """A 95 % confidence interval, and how it was made, in words that stand under the table (`t over 3 seeds`)."""

    low: float
    high: float
    method: str


class RowsTest(NamedTuple):
    """A test on the test rows alone: whether these trained models differ, whatever other seeds would give.

    Args:
        p_value: two-sided, of the paired test.
        p_holm: the same, corrected by Holm over the rows of the table.
        test: in words: `McNemar, exact`, `sign flips, exact`, `permutation of 9,999`.
    """

    p_value: float
    p_holm: float
    test: str


class Contrast(NamedTuple):
    """A row against the baseline, on the same test rows.

    Args:
        difference: of the means, the row's minus the baseline's.
        effect_size: Cohen's d of the paired rows (difference over the standard deviation of the rows' differences);
            None where it is not defined.
        interval: 95 %, of the difference, with rows and seeds both sampled; None where p is None, or nothing varies.
        p_value: two-sided, with rows and seeds both sampled; None where one of both has a single run and something
            random in it: one seed does not tell how far others would move it.
        p_holm: the same, corrected over the pairs of the table.
        test: in words: `over rows and 3 paired seeds`; empty without p.
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
        """Whether the recipes differ, by rows and seeds."""
        return self.p_holm is not None and self.p_holm <= SIGNIFICANT


class Gap(NamedTuple):
    """A row against the best one: its mean minus the best one's, the 95 % interval of that, and the corrected p."""

    difference: float
    interval: Interval | None
    p_holm: float


class RowSignificance(NamedTuple):
    """What is said of a metric of a row.

    Args:
        interval: of its mean: over seeds, or for a single run over test rows; None where neither can be made.
        contrast: against the baseline; None for the baseline itself, and where rows cannot be paired.
        tied_with_best: whether it cannot be told apart from the best row (the best itself: true); None where no test
            was made.
        to_best: of a row other than the best: its difference to the best; None where no test was made.
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
        methods: sentences on how all this was made, to stand under the table.
        unread: names of the finished runs whose evaluated rows could not be read.
    """

    rows: dict[tuple[int, str], RowSignificance]
    runs: dict[tuple[str, str], Interval]
    methods: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


NO_SIGNIFICANCE = Significance({}, {})
