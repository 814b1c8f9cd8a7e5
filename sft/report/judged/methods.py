"""How the statistics of a table were made, in sentences that stand under it. Computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from sft.report.comparison import Comparison
from sft.report.judged.contrasts import (
    AND_EXCHANGE,
    EXCHANGED,
    LONG_SIGN_FLIPS,
    MCNEMAR,
    RANDOM_FLIPS,
    SIGN_FLIPS,
)
from sft.report.judged.pairing import Found, Known
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
FEWEST_FOR_BCA = 50  # right and wrong: with fewer, a share takes too few values and BCa covers up to 98 %, Wilson 95


def methods(
    comparison: Comparison,
    rows: Mapping[tuple[int, str], RowSignificance],
    runs: Mapping[tuple[str, str], Interval],
    differing: Sequence[str],
) -> Iterable[str]:
    """What a reader has to know of how all this was made."""
    yield from _of_intervals([one.interval for one in rows.values() if one.interval is not None], runs)
    yield from _of_contrasts([one.contrast for one in rows.values() if one.contrast is not None])
    if any(one.tied_with_best is not None for one in rows.values()) and len(comparison.rows) > 1:
        yield (
            "Tied with the best (=): the corrected p of the difference to the best row on the test rows is above .05. "
            "For the baseline it is the p beside the best row's Δ: there is one correction for all pairs."
        )
    if differing:
        names = ", ".join(map(title, differing))
        yield f"No statistics over rows for {names} of some runs: their predictions give other figures than the result."


def withheld(known: Known, runs: Mapping[tuple[str, str], Interval], outcomes: Found) -> Iterable[str]:
    """Why some metrics of labels have no interval over rows."""
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
        yield "No p where a recipe has one run and something random in it: one seed does not show how others differ."
    tests = dict.fromkeys(one.models.test.removesuffix(AND_EXCHANGE) for one in contrasts)
    said = [words(one) for start, words in _TESTS.items() for one in tests if one.startswith(start)]
    if any(EXCHANGED in one.models.test for one in contrasts):
        said.append(
            "where the two have unequal numbers of runs, the larger p of that and of an exchange of runs within rows, "
            "exact for shares, else by its first three moments"
        )
    yield (
        "these models: two-sided paired tests against the baseline on the same test rows, on outcomes averaged over "
        f"seeds ({'; '.join(said)}). They hold for the models as trained here, not for other seeds. Corrected by Holm "
        "over the rows of the table, for each metric by itself."
    )


_INTERVALS_OVER_ROWS = {
    BCA: f"bootstrap BCa of {DRAWS:,} draws",
    WILSON: f"Wilson for shares with fewer than {FEWEST_FOR_BCA} rows right or wrong",
}
_TESTS: Mapping[str, Callable[[str], str]] = {
    MCNEMAR: lambda _: "McNemar's exact test for shares of rows of single runs",
    SIGN_FLIPS: lambda _: "exact permutation for shares of rows averaged over seeds",
    LONG_SIGN_FLIPS: lambda _: f"{RANDOM_FLIPS:,} random permutations where the exact one is too long",
    "permutation": lambda test: (
        f"{test.replace('permutation of', 'permutation by')} random sign flips of the rows' differences for other "
        "metrics, each row with what it adds where the metric is no mean over rows (its linear part around the mean of "
        "all that are compared)"
    ),
}
