"""Simulated studies with known truth: how often intervals cover it, and how often tests give false positives.

Used by `test_simulations.py` and by `scripts/bench/report.py`, which writes the shares down.
Shapes: N test rows, L labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from sft.report.compared import contrasts
from sft.report.compared.assess import row_intervals
from sft.report.compared.contrasts import rows_tests
from sft.report.compared.outcomes import Outcomes
from sft.report.compared.pairing import Paired, paired_rows
from sft.report.statistics.bootstrap import Draws
from sft.report.statistics.paired import holm
from sft.report.statistics.sums import Sums, confusion

EVEN = (1 / 3, 1 / 3, 1 / 3)
UNEVEN = (0.6, 0.3, 0.1)
TREC = (0.018, 0.276, 0.188, 0.13, 0.162, 0.226)
RARE = (0.702, 0.21, 0.063, 0.019, 0.006)
FLIPS = 999


class Equal(NamedTuple):
    """Recipes that are equally good.

    Args:
        what: description.
        rows: N.
        runs: number of runs of each recipe.
        metric: `accuracy`, `brier` or a metric of labels.
        rate: share of right answers, not counting those right by chance.
        alike: share of the rows that are equally hard for all recipes.
        own: share of the other rows that are equally hard for all runs of a recipe.
        often: frequency of each label.
    """

    what: str
    rows: int
    runs: tuple[int, ...]
    metric: str
    rate: float
    alike: float = 0.0
    own: float = 0.0
    often: tuple[float, ...] = EVEN


EQUAL = (
    Equal("5 single runs", 200, (1,) * 5, "accuracy", 0.7, alike=0.3),
    Equal("12 single runs", 200, (1,) * 12, "accuracy", 0.93, alike=0.7),
    Equal("12 single runs", 500, (1,) * 12, "accuracy", 0.7, alike=0.9),
    Equal("5 recipes of 3 seeds", 200, (3,) * 5, "accuracy", 0.7, alike=0.3),
    Equal("5 single runs", 500, (1,) * 5, "macro_f1", 0.93, alike=0.7),
    Equal("5 recipes of 3 seeds", 500, (3,) * 5, "macro_f1", 0.7, alike=0.9),
    Equal("6 single runs, rarest label .6 %", 200, (1,) * 6, "macro_f1", 0.7, often=RARE),
    Equal("6 single runs, rarest label .6 %", 500, (1,) * 6, "macro_f1", 0.7, often=RARE),
    Equal("6 single runs, rarest label .6 %", 200, (1,) * 6, "mcc", 0.7, often=RARE),
    Equal("6 recipes of 3 seeds, rarest label .6 %", 200, (3,) * 6, "macro_f1", 0.7, often=RARE),
    Equal("10 seeds against 1, independent", 100, (10, 1, 1, 1, 1, 1), "accuracy", 0.95),
    Equal("1 seed against 3, independent", 200, (1, 3, 3, 3, 3, 3), "accuracy", 0.9),
    Equal("1 and 5 seeds, independent", 200, (1, 5) * 4, "accuracy", 0.97),
    Equal("10 seeds against 1, seeds agree", 100, (10, 1, 1, 1, 1, 1), "accuracy", 0.9, own=0.8),
    Equal("1 seed against 3, seeds agree", 200, (1, 3, 3, 3, 3, 3), "accuracy", 0.8, own=0.9),
    Equal("1 seed against 3, rarest label .6 %", 200, (1, 3, 3, 3, 3, 3), "macro_f1", 0.7, own=0.5, often=RARE),
    Equal("10 seeds against 1, independent", 200, (10, 1, 1, 1, 1, 1), "brier", 0.95),
    Equal("1 seed against 3, seeds agree", 200, (1, 3, 3, 3, 3, 3), "brier", 0.8, own=0.9),
)


def false_positives(case: Equal, studies: int) -> float:
    """Return the share of studies with a significant difference between equally good models, tested on rows alone."""
    rng = np.random.default_rng(case.rows + len(case.runs))
    pairs = [(other, 0) for other in range(1, len(case.runs))]
    significant = 0
    with patch.object(contrasts, "_FEWEST_FLIPS", FLIPS):
        for _ in range(studies):
            tests = rows_tests(_table(case, rng), pairs)
            significant += bool(holm([one.p_value for one in tests]).min() <= 0.05)
    return significant / studies


def _table(case: Equal, rng: np.random.Generator) -> Paired:
    """Return the table of one study."""
    outcomes, rows = {}, []
    reference_N = rng.choice(len(case.often), case.rows, p=_shares(case.often))
    hard_N = rng.random(case.rows)
    for recipe, number in enumerate(case.runs):
        own_N, runs = rng.random(case.rows), []
        for seed in range(number):
            run = SimpleNamespace(id=f"{recipe}-{seed}", seed=seed, metrics=lambda _split, key=case.metric: {key: 0.0})
            outcomes[run.id, "test"] = _run(case, reference_N, hard_N, own_N, rng)
            runs.append(run)
        rows.append(SimpleNamespace(runs=runs, is_fixed=False))
    comparison: Any = SimpleNamespace(rows=rows)
    known = dict.fromkeys(outcomes, frozenset({case.metric}))
    return next(paired_rows(comparison, outcomes, known))


def _run(
    case: Equal, reference_N: NDArray[Any], hard_N: NDArray[Any], own_N: NDArray[Any], rng: np.random.Generator
) -> Outcomes:
    size = len(reference_N)
    of_recipe_N = np.where(rng.random(size) < case.own, own_N, rng.random(size))
    right_N = np.where(rng.random(size) < case.alike, hard_N, of_recipe_N) < case.rate
    other_N = rng.choice(len(case.often), size, p=_shares(case.often))
    predicted_N = np.where(right_N, reference_N, other_N)
    hits_N = right_N if case.metric == "accuracy" else predicted_N == reference_N
    loss_N = np.where(right_N, 0.1, 1.5) * rng.random(size) ** 2
    return Outcomes(
        size, "these", {"accuracy": hits_N}, {"brier": loss_N.astype(np.float32)}, len(case.often),
        reference_N.astype(np.int16), predicted_N.astype(np.int16),
    )  # fmt: skip


class Truth(NamedTuple):
    """A classifier with known true metrics: right at a rate, else its answer is drawn like the labels."""

    what: str
    rows: int
    often: tuple[float, ...]
    rate: float


TRUTHS = (
    Truth("3 even labels", 200, EVEN, 0.7),
    Truth("rarest of 3 labels 10 %", 200, UNEVEN, 0.7),
    Truth("rarest of 6 labels 1.8 % (TREC)", 200, TREC, 0.8),
    Truth("rarest of 6 labels 1.8 % (TREC)", 500, TREC, 0.8),
    Truth("rarest of 5 labels .6 %", 200, RARE, 0.7),
    Truth("rarest of 5 labels .6 %", 1_000, RARE, 0.7),
    Truth("2 labels, 5 % of one", 300, (0.95, 0.05), 0.9),
    Truth("2 labels, 5 % of one", 1_500, (0.95, 0.05), 0.9),
)
METRICS = ("macro_f1", "macro_recall", "mcc")


class Covered(NamedTuple):
    """Number of studies with an interval, and the share of these whose interval contains the truth."""

    given: int
    share: float


def coverage(case: Truth, studies: int, metrics: tuple[str, ...] = METRICS) -> dict[str, Covered]:
    """Return how often intervals over rows contain the true value of metrics of labels."""
    often_L, rows = _shares(case.often), case.rows
    cells_LL = case.rate * np.diag(often_L) + (1 - case.rate) * np.outer(often_L, often_L)
    sums_K = np.concatenate([np.diag(cells_LL), cells_LL.sum(axis=0), cells_LL.sum(axis=1)])
    labels = len(cells_LL)
    truth = confusion(np.zeros(1, dtype=int), np.zeros(1, dtype=int), labels).function(sums_K, 1.0)
    given, held = dict.fromkeys(metrics, 0), dict.fromkeys(metrics, 0)
    draws = Draws(rows)
    for made in _confusions(cells_LL, rows, studies):
        result = row_intervals(made, draws.replicates([made])[0], ())
        for metric in metrics:
            if metric in result:
                given[metric] += 1
                held[metric] += result[metric].low - 1e-6 <= truth[metric] <= result[metric].high + 1e-6
    return {metric: Covered(given[metric], held[metric] / max(1, given[metric])) for metric in metrics}


def _confusions(cells_LL: NDArray[np.float64], rows: int, studies: int) -> Iterator[Sums]:
    rng, labels = np.random.default_rng(rows), len(cells_LL)
    for _ in range(studies):
        cells_N = rng.choice(labels * labels, rows, p=cells_LL.ravel())
        yield confusion(cells_N // labels, cells_N % labels, labels)


def _shares(often: tuple[float, ...]) -> NDArray[np.float64]:
    return np.asarray(often) / sum(often)
