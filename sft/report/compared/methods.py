"""Sentences on how the statistics of a table were computed, shown under it. Computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from sft.report.compared.contrasts import (
    AND_EXCHANGE,
    EXACT_FLIPS,
    EXCHANGED,
    LONG_FLIPS,
    MCNEMAR,
    RANDOM_FLIPS,
)
from sft.report.compared.pairing import MetricsByRun, OutcomesByRun
from sft.report.comparison import Comparison
from sft.report.metrics import title
from sft.report.significance import Contrast, Interval, RowSignificance
from sft.report.statistics.bootstrap import DRAWS
from sft.report.statistics.sums import (
    FEWEST_OF_A_KIND,
    FEWEST_OF_A_LABEL,
    FEWEST_RIGHT_AND_WRONG,
    MACRO_AVERAGES,
)

BCA = "BCa bootstrap over test rows"
WILSON = "Wilson over test rows"
FEWEST_ROWS = 20  # of a bootstrap
FEWEST_FOR_BCA = 50  # right and wrong rows: with fewer, a share has few values, and BCa covers up to 98 %, Wilson 95 %


def methods(
    comparison: Comparison,
    rows: Mapping[tuple[int, str], RowSignificance],
    runs: Mapping[tuple[str, str], Interval],
    differing: Sequence[str],
) -> Iterable[str]:
    """Yield the sentences on how intervals and tests were computed."""
    yield from _of_intervals([one.interval for one in rows.values() if one.interval is not None], runs)
    yield from _of_contrasts([one.contrast for one in rows.values() if one.contrast is not None])
    if any(one.tied_with_best is not None for one in rows.values()) and len(comparison.rows) > 1:
        yield (
            "Tied with the best (=): the corrected p of the difference to the best row on the test rows is above .05. "
            "For the baseline it is the p shown next to the best row's Δ: one correction covers all pairs."
        )
    if differing:
        names = ", ".join(map(title, differing))
        yield f"No statistics over rows for {names} of some runs: their predictions give other values than the result."


def withheld(known: MetricsByRun, runs: Mapping[tuple[str, str], Interval], outcomes: OutcomesByRun) -> Iterable[str]:
    """Yield the reason why some metrics of labels have no interval over rows."""
    if any(
        metric in MACRO_AVERAGES and (one, metric) not in runs and outcomes[one, split].rows >= FEWEST_ROWS
        for (one, split), metrics in known.items()
        if split == "test"
        for metric in metrics
    ):
        yield (
            f"No interval over rows where it would be too narrow: for averages over labels of which one has fewer than "
            f"{FEWEST_OF_A_LABEL} rows (for precision and recall: fewer than {FEWEST_RIGHT_AND_WRONG} right or wrong), "
            f"and for all metrics of labels with fewer than {FEWEST_OF_A_KIND} rows right or wrong in all."
        )


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
    if any(one.p_value is not None for one in contrasts):
        yield (
            "p and the interval of Δ: two-sided, with test rows and seeds both sampled. The variance of a difference "
            "has two parts (crossed variance components): over seeds, paired where both recipes have the same seed, "
            "and over rows. The part over seeds is estimated from few of them, which a Behrens-Fisher distribution "
            "takes into account. p is at least that of the test on rows alone. Corrected by Holm for each metric, over "
            "all pairs that are compared with the baseline or could have been with the best; the pairs with the "
            "baseline have at least three quarters of the level."
        )
    if any(one.p_value is None for one in contrasts):
        yield "No p where a recipe is random and has one run: one seed does not show how much other seeds differ."
    tests = dict.fromkeys(one.models.test.removesuffix(AND_EXCHANGE) for one in contrasts)
    sentences = [words(one) for start, words in _TESTS.items() for one in tests if one.startswith(start)]
    if any(EXCHANGED in one.models.test for one in contrasts):
        sentences.append(
            "for recipes with unequal numbers of runs the larger p of this test and an exchange of runs within rows, "
            "exact for shares, else by its first three moments"
        )
    yield (
        "these models: two-sided paired tests against the baseline on the same test rows, on outcomes averaged over "
        f"seeds ({'; '.join(sentences)}). They hold for the models as trained here, not for other seeds. Corrected by "
        "Holm over the rows of the table, separately for each metric."
    )


_INTERVALS_OVER_ROWS = {
    BCA: f"bootstrap BCa of {DRAWS:,} draws",
    WILSON: f"Wilson for shares with fewer than {FEWEST_FOR_BCA} rows right or wrong",
}
_TESTS: Mapping[str, Callable[[str], str]] = {
    MCNEMAR: lambda _: "McNemar's exact test for shares of rows of single runs",
    EXACT_FLIPS: lambda _: "exact permutation for shares of rows averaged over seeds",
    LONG_FLIPS: lambda _: f"{RANDOM_FLIPS:,} random permutations where the exact test would take too long",
    "permutation": lambda test: (
        f"{test.replace('permutation of', 'permutation by')} random sign flips of the rows' differences for other "
        "metrics; where the metric is not a mean over rows, with each row's contribution (its linear part around the "
        "mean of all compared recipes)"
    ),
}
