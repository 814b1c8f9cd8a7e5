"""Variance of a difference of recipes over rows and seeds, against an analysis of variance and a simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sft.report.statistics.crossed import Recipe, crossed_variances
from sft.report.statistics.few_seeds import Variance

ROWS = 400


def recipe(rows_SN: Any, seeds: tuple[int, ...]) -> Recipe:
    values_SN = np.asarray(rows_SN, dtype=np.float64)
    return Recipe(seeds, values_SN.mean(axis=1), values_SN)


def hits(seed: int, runs: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    depth_SN = rng.standard_normal(ROWS) + rng.standard_normal((runs, ROWS)) + 0.1 * rng.standard_normal((runs, 1))
    return (depth_SN > -0.5).astype(np.float64)


def between(one: Recipe, other: Recipe) -> tuple[float, float, float]:
    result: Variance = crossed_variances([one], [other])
    rows, seeds, freedom = (float(part[0, 0]) for part in result)
    return rows, seeds, freedom


def mean_squares(values_SN: np.ndarray) -> tuple[float, float, float]:
    """Return the mean squares of seeds, rows and residual of a crossed design with one value per cell."""
    seeds, rows = values_SN.shape
    whole = values_SN.mean()
    of_seeds, of_rows = values_SN.mean(axis=1), values_SN.mean(axis=0)
    left_SN = values_SN - of_seeds[:, None] - of_rows + whole
    return (
        float(rows * ((of_seeds - whole) ** 2).sum() / (seeds - 1)),
        float(seeds * ((of_rows - whole) ** 2).sum() / (rows - 1)),
        float((left_SN**2).sum() / (seeds - 1) / (rows - 1)),
    )


def few_rows(rows: int = ROWS) -> float:
    """Student's t with N - 1 degrees of freedom is a little wider than the normal distribution."""
    from scipy import stats

    return float(stats.t.ppf(0.975, rows - 1) / stats.norm.ppf(0.975)) ** 2


def test_the_same_seeds_are_paired() -> None:
    first, second = hits(1, 5), hits(2, 5)
    of_seeds, of_rows, left = mean_squares(first - second)
    rows, seeds, freedom = between(recipe(first, (1, 2, 3, 4, 5)), recipe(second, (1, 2, 3, 4, 5)))
    assert seeds == pytest.approx(of_seeds / (5 * ROWS))
    assert rows == pytest.approx((of_rows - left) / (5 * ROWS) * few_rows(), rel=1e-4)
    assert freedom == 4


def test_their_order_does_not_matter() -> None:
    first, second = hits(1, 3), hits(2, 3)
    turned = recipe(second[::-1], (3, 2, 1))
    assert between(recipe(first, (1, 2, 3)), turned) == pytest.approx(
        between(recipe(first, (1, 2, 3)), recipe(second, (1, 2, 3)))
    )


def test_other_seeds_are_two_samples_and_the_rows_are_shared() -> None:
    first, second = hits(1, 3), hits(2, 4)
    parts = [mean_squares(first), mean_squares(second)]
    rows, seeds, freedom = between(recipe(first, (1, 2, 3)), recipe(second, (4, 5, 6, 7)))
    assert seeds == pytest.approx(parts[0][0] / (3 * ROWS) + parts[1][0] / (4 * ROWS))
    of_rows = np.var(first.mean(axis=0) - second.mean(axis=0), ddof=1) / ROWS
    left = parts[0][2] / (3 * ROWS) + parts[1][2] / (4 * ROWS)
    assert rows == pytest.approx(max(0.0, of_rows - left) * few_rows(), rel=1e-3, abs=1e-9)
    assert 2 <= freedom <= 5


def test_deterministic_recipes_have_no_seed_part() -> None:
    several, fixed = hits(1, 3), hits(2, 1)
    of_seeds, of_rows, left = mean_squares(several - fixed)
    rows, seeds, freedom = between(recipe(several, (1, 2, 3)), recipe(fixed, ()))
    assert (seeds, freedom) == (pytest.approx(of_seeds / (3 * ROWS)), 2)
    assert rows == pytest.approx((of_rows - left) / (3 * ROWS) * few_rows(), rel=1e-4)
    other = hits(3, 1)
    rows, seeds, freedom = between(recipe(fixed, ()), recipe(other, ()))
    assert (seeds, freedom) == (0, 0)
    assert rows == pytest.approx(np.var(fixed - other, ddof=1) / ROWS * few_rows(), rel=1e-5)


def test_one_seed_gives_no_variance() -> None:
    one, several = recipe(hits(1, 1), (1,)), recipe(hits(2, 3), (1, 2, 3))
    assert np.isnan(between(one, several)).all()
    assert np.isnan(between(several, one)).all()
    assert np.isnan(between(one, recipe(hits(3, 1), ()))).all()


def test_unpaired_seeds_count_for_their_own_recipe() -> None:
    """Two of three seeds are paired: the parts computed explicitly."""
    first, second = hits(1, 3), hits(2, 2)
    rows, seeds, freedom = between(recipe(first, (1, 2, 3)), recipe(second, (1, 2)))
    paired = first[:2].mean(axis=1) / 3 - second.mean(axis=1) / 2
    expected = 2 * np.var(paired, ddof=1) + np.var(first.mean(axis=1), ddof=1) / 9
    assert seeds == pytest.approx(expected)
    assert rows >= 0
    assert 1 <= freedom <= 3


def test_many_recipes_at_once_equal_single_pairs() -> None:
    recipes = [
        recipe(hits(1, 3), (1, 2, 3)), recipe(hits(2, 1), ()), recipe(hits(3, 3), (1, 2, 3)),
        recipe(hits(4, 2), (7, 8)), recipe(hits(5, 1), (1,)),
    ]  # fmt: skip
    result = crossed_variances(recipes, recipes)
    for i, one in enumerate(recipes):
        for j, other in enumerate(recipes):
            if i != j:
                together = [float(part[i, j]) for part in result]
                np.testing.assert_allclose(together, between(one, other), rtol=1e-4, atol=1e-9)
                np.testing.assert_allclose(together, [float(part[j, i]) for part in result], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("shared", [True, False])
def test_its_expectation_is_the_variance_over_studies(shared: bool) -> None:
    """The mean estimate equals the variance of the differences between studies with known parts."""
    rng, number, rows = np.random.default_rng(1), 600, 60
    differences, estimates = [], []
    for _ in range(number):
        of_seeds_S = 0.2 * rng.standard_normal(3)  # the same for both, where seeds are shared
        sides = []
        for side in range(2):
            own_S = of_seeds_S if shared else 0.2 * rng.standard_normal(3)
            values_SN = own_S[:, None] + 0.15 * rng.standard_normal((3, 1)) + rng.standard_normal(rows)
            seeds = (1, 2, 3) if shared or not side else (4, 5, 6)
            sides.append(recipe(values_SN + 0.8 * rng.standard_normal((3, rows)), seeds))
        differences.append(sides[0].values_S.mean() - sides[1].values_S.mean())
        of_rows, of_seeds, _ = between(*sides)
        estimates.append(of_rows / few_rows(rows) + of_seeds)
    assert np.mean(estimates) == pytest.approx(np.var(differences), rel=0.15)
