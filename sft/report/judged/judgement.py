"""What statistics say of one metric of one row of the table, beside its mean: plain values, no arithmetic."""

from __future__ import annotations

from typing import NamedTuple


class Interval(NamedTuple):
    """A 95 % confidence interval, and how it was made, in words that stand under the table (`t over 3 seeds`)."""

    low: float
    high: float
    method: str

    @property
    def holds_zero(self) -> bool:
        """Whether the interval of a difference leaves open which of the two is larger."""
        return self.low <= 0 <= self.high


class Contrast(NamedTuple):
    """A row against the baseline, on the same test rows.

    Args:
        difference: of the means, the row's minus the baseline's.
        effect_size: Cohen's d of the paired rows (difference over the standard deviation of the rows' differences);
            None where it is not defined.
        p_value: two-sided, of the paired test.
        p_holm: the same, corrected by Holm over the rows of the table.
        test: in words: `McNemar, exact`, `sign flips, exact`, `permutation of 9,999`.
        over_seeds: 95 % interval of the difference over seeds (Welch; t where one of both has nothing random), where
            there are several: how far other seeds could move it, which the test over rows does not know.
    """

    difference: float
    effect_size: float | None
    p_value: float
    p_holm: float
    test: str
    over_seeds: Interval | None = None


class Judgement(NamedTuple):
    """What is said of a metric of a row.

    Args:
        interval: of its mean: over seeds, or for a single run over test rows; None where neither can be made.
        contrast: against the baseline; None for the baseline itself, and where rows cannot be paired.
        tied_with_best: whether it cannot be told apart from the best row (the best itself: true); None where no test
            was made.
        to_best_over_seeds: of a row that can be told apart from the best: the same interval over seeds of its
            difference to the best, on the split on which that was chosen.
    """

    interval: Interval | None = None
    contrast: Contrast | None = None
    tied_with_best: bool | None = None
    to_best_over_seeds: Interval | None = None


class Significance(NamedTuple):
    """All judgements of a comparison.

    Args:
        rows: by (index of the row, metric); of the test split.
        runs: interval over test rows by (id of the run, metric); of the test split.
        methods: sentences on how all this was made, to stand under the table.
        unread: names of the finished runs whose judged rows could not be read.
    """

    rows: dict[tuple[int, str], Judgement]
    runs: dict[tuple[str, str], Interval]
    methods: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


NO_SIGNIFICANCE = Significance({}, {})
