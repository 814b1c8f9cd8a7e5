"""Intervals over rows: draws equal resampled rows, and intervals equal those of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from sft.report.statistics import bootstrap
from sft.report.statistics.bootstrap import Draws, bca_bounds
from sft.report.statistics.intervals import Bounds
from sft.report.statistics.sums import Sums, confusion, means


def counts_of(draws: Draws) -> np.ndarray:
    return np.concatenate(list(draws.parts()))


def test_every_draw_has_n_rows() -> None:
    counts_BN = counts_of(Draws(50, 400))
    assert counts_BN.shape == (400, 50)
    assert (counts_BN.sum(axis=1) == 50).all()
    assert counts_BN.mean(axis=0) == pytest.approx(1, abs=0.25)
    assert counts_BN.var() == pytest.approx(1 - 1 / 50, abs=0.05)


def test_replicates_are_the_metric_of_the_rows_drawn() -> None:
    rng = np.random.default_rng(0)
    reference_N = rng.integers(0, 3, 60)
    predicted_N = np.where(rng.random(60) < 0.6, reference_N, rng.integers(0, 3, 60))
    values_N = rng.random(60)
    draws = Draws(60, 20)

    of_labels, of_means = draws.replicates([confusion(reference_N, predicted_N, 3), means({"brier": values_N})])

    for draw, counts_N in enumerate(counts_of(draws).astype(int)):
        rows = np.repeat(np.arange(60), counts_N)
        known = f1_score(reference_N[rows], predicted_N[rows], average="macro", labels=[0, 1, 2], zero_division=0)
        assert of_labels["macro_f1"][draw] == pytest.approx(known, abs=1e-6)
        assert of_means["brier"][draw] == pytest.approx(values_N[rows].mean(), abs=1e-6)


def test_many_rows_are_drawn_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    several = [means({"brier": np.random.default_rng(seed).random(40)}) for seed in range(5)]
    whole = Draws(40, 100)
    monkeypatch.setattr(bootstrap, "_MOST_BYTES", 3 * 4 * 40)
    parts = Draws(40, 100)
    assert len(list(parts.parts())) == 34
    for one, other in zip(whole.replicates(several), parts.replicates(several), strict=True):
        np.testing.assert_allclose(one["brier"], other["brier"], rtol=1e-6)


@pytest.mark.parametrize(("kind", "rows"), [("skewed", 60), ("even", 100)])
def test_bounds_of_a_mean_are_those_of_scipy(kind: str, rows: int) -> None:
    rng = np.random.default_rng(5)
    values_N = rng.exponential(size=rows) ** 2 if kind == "skewed" else rng.normal(size=rows)
    known = stats.bootstrap((values_N,), np.mean, n_resamples=20_000, method="BCa", rng=rng).confidence_interval
    assert bounds_of(means({"brier": values_N}), "brier", 20_000) == pytest.approx(
        tuple(known), abs=0.02 * (known.high - known.low)
    )


def test_bounds_of_macro_f1_are_those_of_scipy() -> None:
    rng = np.random.default_rng(5)
    reference_N = rng.integers(0, 2, 150)
    predicted_N = np.where(rng.random(150) < 0.8, reference_N, 1 - reference_N)

    def macro_f1(reference_XN: np.ndarray, predicted_XN: np.ndarray, axis: int = -1) -> np.ndarray:
        both, either = reference_XN == predicted_XN, reference_XN + predicted_XN
        ones, zeros = (both * reference_XN).sum(axis), (both * (1 - reference_XN)).sum(axis)
        return (ones / either.sum(axis) * 2 + zeros / (2 - either).sum(axis) * 2) / 2

    known = stats.bootstrap(
        (reference_N, predicted_N), macro_f1, n_resamples=10_000, method="BCa", paired=True, rng=rng
    ).confidence_interval
    # 150 rows give few values of the metric: half a row of tolerance
    assert bounds_of(confusion(reference_N, predicted_N, 2), "macro_f1", 10_000) == pytest.approx(
        tuple(known), abs=0.5 / 150 + 0.02 * (known.high - known.low)
    )


def bounds_of(made: Sums, metric: str, draws: int) -> Bounds | None:
    replicates_B = Draws(len(made), draws).replicates([made])[0][metric]
    return bca_bounds(made.values()[metric], replicates_B, made.pseudo_values()[metric])


def test_biased_draws_are_corrected() -> None:
    replicates_B = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000) + 0.2
    result = bca_bounds(0.0, replicates_B, np.array([-1.0, 0.0, 1.0]))
    assert result == pytest.approx((0.2 - 2 * 0.2 - 1.96, 0.2 - 2 * 0.2 + 1.96), abs=0.002)


def test_rows_without_spread_have_no_bounds() -> None:
    made = means({"brier": np.full(50, 0.3)})
    replicates_B = Draws(50, 200).replicates([made])[0]["brier"]
    assert bca_bounds(0.3, replicates_B, made.pseudo_values()["brier"]) is None
    assert bca_bounds(0.3, np.full(200, 0.4), np.arange(50.0)) is None
