"""Coverage of intervals and false positives of tests, in 1,000 simulated studies of each kind.

With 1,000 studies a share of 95 % is estimated as 93.6-96.4 %, one of 5 % as 3.6-6.4 %. Seeds are fixed.
Run with `-s` to see the shares.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sft.report.compared.assess import row_intervals
from sft.report.statistics.bootstrap import Draws
from sft.report.statistics.intervals import mean_bounds
from sft.report.statistics.sums import Sums, confusion, means

sys.path.insert(0, str(Path(__file__).parent))
from studies import EQUAL, TRUTHS, Equal, Truth, coverage, false_positives

pytestmark = pytest.mark.long

STUDIES = 1_000


def shown(what: str, share: float) -> float:
    print(f"{what}: {100 * share:.1f} %")  # noqa: T201 - for those who run it by hand
    return share


def covered(draws: Draws, study: Callable[[], Sums], truth: dict[str, float], shares: bool = False) -> dict[str, float]:
    """Return how often the intervals over rows contain the true value of each metric."""
    hits = dict.fromkeys(truth, 0)
    for _ in range(STUDIES):
        made = study()
        result = row_intervals(made, draws.replicates([made])[0], truth if shares else ())
        for metric, value in truth.items():
            hits[metric] += metric in result and result[metric].low - 1e-6 <= value <= result[metric].high + 1e-6
    return {metric: count / STUDIES for metric, count in hits.items()}


@pytest.mark.parametrize("rows", [200, 500, 1_000])
@pytest.mark.parametrize("rate", [0.5, 0.8, 0.95])
def test_intervals_of_accuracy(rows: int, rate: float) -> None:
    rng = np.random.default_rng(round(1000 * rate) + rows)
    share = covered(Draws(rows), lambda: means({"accuracy": rng.random(rows) < rate}), {"accuracy": rate}, shares=True)
    assert 0.93 <= shown(f"accuracy {rate}, {rows} rows", share["accuracy"]) <= 0.97


@pytest.mark.parametrize("rows", [200, 500])
@pytest.mark.parametrize("often", [(1 / 3, 1 / 3, 1 / 3), (0.6, 0.3, 0.1)])
def test_intervals_of_macro_f1_and_mcc(rows: int, often: tuple[float, ...]) -> None:
    rng = np.random.default_rng(rows)
    cells_LL = np.diag(often) * 0.75 + (1 - np.eye(3)) * np.array(often)[:, None] * 0.125
    sums_K = np.concatenate([np.diag(cells_LL), cells_LL.sum(axis=0), cells_LL.sum(axis=1)])
    truth = confusion(np.zeros(1, dtype=int), np.zeros(1, dtype=int), 3).function(sums_K, 1.0)

    def study() -> Sums:
        cells_N = rng.choice(9, rows, p=cells_LL.ravel())
        return confusion(cells_N // 3, cells_N % 3, 3)

    for metric, share in covered(Draws(rows), study, {key: float(truth[key]) for key in ("macro_f1", "mcc")}).items():
        assert 0.93 <= shown(f"{metric}, {rows} rows, labels {often}", share) <= 0.97


@pytest.mark.parametrize("rows", [200, 500])
def test_intervals_of_brier_and_log_loss(rows: int) -> None:
    rng = np.random.default_rng(rows)

    def losses(count: int) -> dict[str, np.ndarray]:
        """Return the losses of an overconfident model with three labels."""
        logits_NL = 1.5 * rng.standard_normal((count, 3))
        true_NL, predicted_NL = (np.exp(sharp * logits_NL) for sharp in (1.0, 1.5))
        true_NL, predicted_NL = (odds_NL / odds_NL.sum(axis=1, keepdims=True) for odds_NL in (true_NL, predicted_NL))
        label_N = (rng.random((count, 1)) > np.cumsum(true_NL, axis=1)[:, :2]).sum(axis=1)
        own_N = predicted_NL[np.arange(count), label_N]
        return {"brier": (predicted_NL**2).sum(axis=1) - 2 * own_N + 1, "log_loss": -np.log(own_N)}

    truth = {metric: float(values.mean()) for metric, values in losses(4_000_000).items()}
    for metric, share in covered(Draws(rows), lambda: means(losses(rows)), truth).items():
        assert 0.93 <= shown(f"{metric}, {rows} rows", share) <= 0.97


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_over_normal_seeds(seeds: int) -> None:
    values_SN = np.random.default_rng(seeds).normal(0.7, 0.03, (STUDIES, seeds))
    result = [mean_bounds(values) for values in values_SN.tolist()]
    share = float(np.mean([one is not None and one.low <= 0.7 <= one.high for one in result]))
    assert 0.93 <= shown(f"normal, {seeds} seeds", share) <= 0.97


@pytest.mark.parametrize(
    ("kind", "seeds", "known"),
    [
        ("exponential", 3, 0.88), ("exponential", 5, 0.88), ("exponential", 10, 0.90),
        ("lognormal", 3, 0.84), ("lognormal", 5, 0.82), ("lognormal", 10, 0.84),
    ],
)  # fmt: skip
def test_intervals_over_skewed_seeds_cover_as_documented(kind: str, seeds: int, known: float) -> None:
    rng = np.random.default_rng(seeds)
    values_SN = rng.exponential(size=(20_000, seeds)) if kind == "exponential" else rng.lognormal(size=(20_000, seeds))
    truth = 1.0 if kind == "exponential" else float(np.exp(0.5))
    result = [mean_bounds(values) for values in values_SN.tolist()]
    share = float(np.mean([one is not None and one.low <= truth <= one.high for one in result]))
    assert shown(f"{kind}, {seeds} seeds", share) == pytest.approx(known, abs=0.01)


@pytest.mark.parametrize("case", TRUTHS, ids=str)
def test_intervals_with_rare_labels_cover_the_truth_or_are_missing(case: Truth) -> None:
    for metric, result in coverage(case, STUDIES).items():
        what = f"{metric}, {case.rows} rows, {case.what}: given in {result.given} of {STUDIES} studies"
        assert shown(what, result.share) >= 0.92 or result.given < STUDIES / 20


@pytest.mark.parametrize("case", EQUAL, ids=str)
def test_equally_good_models_rarely_differ(case: Equal) -> None:
    share = false_positives(case, STUDIES)
    # with 1,000 studies a share of 5 % is estimated as 3.6-6.4 %
    assert shown(f"false positives: {case.what}, {case.metric}, {case.rows} rows", share) <= 0.064
