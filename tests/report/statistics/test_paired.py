"""Paired tests against statsmodels and against all possible flips."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as known_mcnemar
from statsmodels.stats.multitest import multipletests

from sft.report.statistics import paired
from sft.report.statistics.paired import (
    differences,
    effect_size,
    exact_flips,
    holm,
    is_long,
    mcnemar,
    permutation,
    random_flips,
)


def by_all_flips(differences_N: np.ndarray) -> float:
    """Return the share of all possible flips with a sum at least as large."""
    flips_PN = np.array(list(product((-1, 1), repeat=len(differences_N))))
    return float((np.abs(flips_PN @ differences_N) >= abs(differences_N.sum()) - 1e-9).mean())


def known_p(first_N: np.ndarray, second_N: np.ndarray) -> float:
    table = [[int((a & b).sum()) for b in (second_N, ~second_N)] for a in (first_N, ~first_N)]
    return float(known_mcnemar(table, exact=True).pvalue)


@pytest.mark.parametrize(("rows", "better"), [(20, 0.5), (300, 0.5), (300, 0.7), (3_000, 0.6), (5, 1.0)])
def test_mcnemar_and_exact_flips_equal_statsmodels(rows: int, better: float) -> None:
    rng = np.random.default_rng(rows)
    first_N, second_N = rng.random(rows) < better, rng.random(rows) < 0.5
    known = known_p(first_N, second_N)
    assert mcnemar(first_N, second_N) == pytest.approx(known, rel=1e-9)
    result = exact_flips(first_N.astype(int) - second_N.astype(int))
    assert result == pytest.approx(max(known, 1e-12), rel=1e-9, abs=1e-13)


def test_rows_that_agree_are_not_significant() -> None:
    same_N = np.array([True, False, True])
    assert mcnemar(same_N, same_N) == 1
    assert exact_flips(np.zeros(3, dtype=np.int64)) == 1
    assert exact_flips(np.array([2, -2, 0])) == 1
    assert effect_size(np.zeros(3)) is None


@pytest.mark.parametrize("seed", range(8))
def test_exact_flips_equal_all_flips(seed: int) -> None:
    differences_N = np.random.default_rng(seed).integers(-3 * (seed % 3 + 1), 5, 12)
    assert exact_flips(differences_N) == pytest.approx(by_all_flips(differences_N), abs=1e-12)
    assert exact_flips(7 * differences_N) == exact_flips(differences_N)


def test_random_flips_approximate_all_flips() -> None:
    rng = np.random.default_rng(1)
    values_NR = rng.normal(size=(12, 4)) + np.array([0, 0.2, 0.5, 1])
    pairs = [(1, 0), (2, 0), (3, 0), (3, 2)]
    known = [by_all_flips(values_NR[:, one] - values_NR[:, other]) for one, other in pairs]
    result = permutation(values_NR.astype(np.float32), pairs, 40_000)
    assert result == pytest.approx(known, abs=0.01)
    assert 0.001 < min(known) < 0.05 < max(known)


def test_equal_sums_count_as_large_and_p_is_never_0() -> None:
    values_NR = np.zeros((30, 3), dtype=np.float32)
    values_NR[:, 1] = 1 / 3
    values_NR[0, 2] = 1
    result = permutation(values_NR, [(0, 0), (1, 0), (2, 0)], 999)
    assert result.tolist() == [1.0, 0.001, 1.0]


def test_differences_of_rounding_are_none() -> None:
    values_N = np.random.default_rng(2).random(200)
    third_N = (values_N.astype(np.float32) + values_N.astype(np.float32) * 2) / np.float32(3)
    assert (third_N != values_N).any()
    assert not differences(third_N, values_N).any()
    assert permutation(np.stack([third_N, values_N], axis=1), [(0, 1)], 999).tolist() == [1.0]
    assert effect_size(differences(third_N, values_N)) is None
    assert differences(values_N + 1e-4, values_N) == pytest.approx(1e-4)
    assert effect_size(differences(values_N + 0.1, values_N)) is None  # all the same: no spread


def test_random_flips_replace_long_exact_ones() -> None:
    rng = np.random.default_rng(4)
    few_N = rng.integers(-3, 4, 300)
    assert random_flips(few_N, 99_999) == pytest.approx(exact_flips(few_N), abs=0.005)
    assert random_flips(np.ones(300, dtype=np.int64), 999) == 0.001
    assert not is_long(rng.integers(-10, 11, 100_000))
    assert is_long(rng.integers(-90, 91, 100_000))
    assert not is_long(np.zeros(5, dtype=np.int64))


def test_many_rows_are_flipped_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    values_NR = np.random.default_rng(3).normal(size=(30, 3)).astype(np.float32)
    whole = permutation(values_NR, [(1, 0), (2, 0)], 500)
    monkeypatch.setattr(paired, "_MOST_BYTES", 7 * 4 * 30)
    assert permutation(values_NR, [(1, 0), (2, 0)], 500).tolist() == whole.tolist()


def test_effect_size_is_the_mean_over_its_spread() -> None:
    differences_N = np.array([0.0, 1.0, 1.0, 2.0])
    assert effect_size(differences_N) == pytest.approx(1 / np.std(differences_N, ddof=1))
    assert effect_size(-differences_N) == pytest.approx(-1 / np.std(differences_N, ddof=1))


@pytest.mark.parametrize("p_values", [[0.01], [0.04, 0.01, 0.03, 0.5], [0.02, 0.02, 0.02], [0.9, 1.0, 0.0001], []])
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    known = multipletests(p_values, method="holm")[1] if p_values else []
    assert holm(p_values) == pytest.approx(list(known))
    assert holm(p_values, [0.3] * len(p_values)) == pytest.approx(list(known))


def test_a_test_with_twice_the_weight_needs_half_the_correction_and_passes_it_on() -> None:
    # shares of the level: 1/2, 1/4, 1/4; once the first is result, the others share all of it
    assert holm([0.02, 0.03, 0.2], [2, 1, 1]) == pytest.approx([0.04, 0.06, 0.2])
    assert holm([0.2, 0.01, 0.03], [2, 1, 1]) == pytest.approx([0.2, 0.04, 0.09])
