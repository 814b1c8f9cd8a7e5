"""Which recipes differ in a table: rows and seeds both sampled, and marks that never contradict each other."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sft.report.compared.outcomes import Outcomes
from sft.report.comparison import Comparison
from sft.report.formats.notes import notes
from sft.report.formats.table import comparison_table
from sft.report.formats.verdict import verdict
from sft.report.rows import best_rows
from sft.report.significance import Contrast

sys.path.insert(0, str(Path(__file__).parent))
from tables import ROWS, Study, outcome


def run(rate: float, rng: np.random.Generator, hard_N: np.ndarray) -> Outcomes:
    """Return a run that is mostly right on the rows that are easy for all runs."""
    rows = len(hard_N)
    reference_N = (np.arange(rows) % 3).astype(np.int16)
    right_N = 0.6 * hard_N + 0.4 * rng.random(rows) < rate
    predicted_N = np.where(right_N, reference_N, (reference_N + 1) % 3).astype(np.int16)
    return Outcomes(rows, "these", {"accuracy": right_N}, {}, 3, reference_N, predicted_N)


def table(rates: Sequence[Sequence[float]], seed: int = 0, rows: int = ROWS, fixed: Sequence[int] = ()) -> Study:
    """Return a table of runs with the given rates on the same test rows; the best rows are marked as in a report."""
    rng = np.random.default_rng(seed)
    hard_N = rng.random(rows)
    study = Study([[run(rate, rng, hard_N) for rate in of_row] for of_row in rates], metrics=("accuracy",))
    for index in fixed:
        study.fix(index)
    best = {"accuracy": best_rows(study.rows, "accuracy", "test")}
    study.comparison = replace(study.comparison, best={key: result for key, result in best.items() if result})
    return study


def assessed(study: Study) -> Comparison:
    return replace(study.comparison, significance=study.significance())


def contrast(study: Study, index: int = 1, metric: str = "accuracy") -> Contrast:
    result = study.significance().rows[index, metric].contrast
    assert result is not None
    return result


def test_seeds_that_differ_widely_are_not_significant() -> None:
    """Significant on the rows of these models, but other seeds could change the order."""
    study = table([[0.5, 0.6, 0.45], [0.62, 0.48, 0.72]], fixed=())
    result = contrast(study)
    assert result.models.p_holm < 0.01
    assert result.p_holm is not None
    assert result.p_holm > 0.05
    assert result.interval is not None
    assert result.interval.low < 0 < result.interval.high
    text = notes(assessed(study), "*", "=")
    assert (
        "Significantly different from the baseline on these test rows, but other seeds could change that: row 1."
        in text
    )
    assert assessed(study).significance_of(0, "accuracy").tied_with_best is True


def test_seeds_that_agree_are_significant() -> None:
    result = contrast(table([[0.5, 0.51, 0.49, 0.5, 0.5], [0.7, 0.71, 0.69, 0.7, 0.7]]))
    assert result.p_holm is not None
    assert result.p_holm < 0.001
    assert result.interval is not None
    assert 0.2 < result.interval.low < result.difference < result.interval.high < 0.45
    assert result.test == result.interval.method == "over rows and 5 paired seeds"


def test_the_effect_of_shared_shots_is_no_difference() -> None:
    """The same seeds draw the same shots, so both recipes gain and lose together."""
    rates = [[0.5, 0.7, 0.6, 0.4], [0.58, 0.78, 0.68, 0.48]]
    together, apart = table(rates, rows=2_000), table(rates, rows=2_000)
    for number, one in enumerate(apart.rows[1].runs):
        one.seed = 100 + number  # type: ignore[misc] - a plain object here
    paired, two_samples = contrast(together), contrast(apart)
    assert paired.p_value is not None
    assert two_samples.p_value is not None
    assert paired.p_value < 0.01 < 0.1 < two_samples.p_value
    assert two_samples.test == "over rows, 4 and 4 seeds"
    values = np.array(apart.figures(1, "accuracy")), np.array(apart.figures(0, "accuracy"))
    ends = stats.ttest_ind(*values, equal_var=False).confidence_interval()  # rows add little here
    assert two_samples.interval is not None
    assert two_samples.interval[:2] == pytest.approx((ends.low, ends.high), abs=0.02)


def test_some_of_the_seeds_are_paired() -> None:
    study = table([[0.5, 0.6, 0.7], [0.6, 0.7]])
    assert contrast(study).test == "over rows, 2 and 3 seeds, 2 of them paired"


def test_one_seed_has_no_p_and_the_note_names_the_number_of_seeds() -> None:
    study = table([[0.3], [0.5, 0.52, 0.51], [0.9]], fixed=[0])
    result = contrast(study, 2)
    assert (result.p_value, result.p_holm, result.interval, result.test) == (None, None, None, "")
    assert result.models.p_holm < 0.001
    assert contrast(study).p_value is not None
    comparison = assessed(study)
    assert [comparison.significance_of(index, "accuracy").tied_with_best for index in range(3)] == [None, None, True]
    assert "Not tested, since they have one seed each (2 seeds give a p, 3 or more a better p): row 2." in notes(
        comparison, "*", "="
    )
    assert verdict(comparison).endswith("recipes are not tested against each other.")
    row = comparison_table(comparison).rows[2]
    assert row[-3:-1] == ["-", "<.001"]


def test_deterministic_recipes_are_their_models() -> None:
    result = contrast(table([[0.5], [0.6]], fixed=[0, 1]))
    assert (result.p_value, result.test) == (result.models.p_value, "McNemar, exact")
    assert result.interval is not None
    assert result.interval.method == "over rows"


def test_recipes_never_have_a_lower_p_than_their_models() -> None:
    for seed in range(20):
        result = contrast(table([[0.6] * 3, [0.62] * 3], seed, rows=60))
        assert result.p_value is not None
        assert result.p_value >= result.models.p_value - 1e-12


def test_five_rows_that_differ_with_three_equal_seeds_are_not_significant() -> None:
    """Three seeds with the same answers, five rows better than the baseline: p is that of five equal coin flips."""
    one = outcome(0.9, 1, rows=200)
    assert one.reference is not None
    assert one.predicted is not None
    predicted_N = one.predicted.copy()
    wrong = np.flatnonzero(predicted_N != one.reference)[:5]
    predicted_N[wrong] = one.reference[wrong]
    other = replace(one, hits={"accuracy": predicted_N == one.reference}, predicted=predicted_N)
    for metric in ("accuracy", "macro_f1"):
        result = contrast(Study([[one] * 3, [other] * 3]), metric=metric)
        assert result.p_value == pytest.approx(2 / 32, abs=0.01)


def test_the_best_of_the_validation_split_is_compared_on_the_test_rows() -> None:
    study = table([[0.5] * 4, [0.8] * 4])
    for index, rate in ((0, 0.9), (1, 0.5)):
        for number, one in enumerate(study.rows[index].runs):
            result: Any = one
            result.set("validation", {"accuracy": rate + 0.001 * number})
    study.comparison = replace(study.comparison, best={"accuracy": (0,)}, chosen_on="validation")
    comparison = assessed(study)
    assert [comparison.significance_of(index, "accuracy").tied_with_best for index in (0, 1)] == [True, False]
    text = notes(comparison, "*", "=")
    assert "Significantly better on the test rows than the row chosen on the validation split: row 1." in text


def marks(comparison: Comparison) -> None:
    """Check that p next to Δ and the mark `=` agree for the baseline and a best row."""
    shown = comparison_table(comparison)
    best, column = comparison.best["accuracy"], shown.header.index("accuracy")
    for index in range(len(comparison.rows)):
        if index in best:
            assert (index, column) in shown.best
            continue
        with_best = [max(index, one) for one in best if 0 in (index, one)]  # the rows whose Δ compares the two
        result = [comparison.significance_of(one, "accuracy").contrast for one in with_best]
        p = [one.p_holm for one in result if one is not None and one.p_holm is not None]
        if p and (len(p) == len(best) or min(p) <= 0.05):
            assert ((index, column) in shown.tied) is (min(p) > 0.05)
        elif result and not p:
            assert (index, column) not in shown.tied


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_no_table_contradicts_itself(seed: int) -> None:
    random_table(seed)


@pytest.mark.long
def test_no_table_of_a_thousand_contradicts_itself() -> None:
    for seed in range(1_000):
        random_table(10**6 + seed)


def random_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    number, spread, rows = (
        int(rng.integers(2, 7)),
        float(rng.choice([0.0, 0.02, 0.08])),
        int(rng.choice([30, 120, 300])),
    )
    rates, fixed = [], []
    for index in range(number):
        runs = int(rng.choice([1, 2, 3, 5]))
        if runs == 1 and rng.random() < 0.5:
            fixed.append(index)
        rates.append((0.5 + 0.1 * rng.random() + spread * rng.standard_normal(runs)).clip(0.05, 0.95).tolist())
    study = table(rates, seed, rows, fixed)
    if study.comparison.best:
        marks(assessed(study))


def test_the_baseline_has_the_larger_part_of_the_level() -> None:
    """Of three recipes each pair with the baseline has three eighths of the level, the third pair a quarter."""
    study = table([[0.5] * 3, [0.58] * 3, [0.6] * 3], rows=200)
    result = study.significance()
    p = [result.rows[index, "accuracy"].contrast for index in (1, 2)]
    gap = result.rows[1, "accuracy"].to_best
    assert all(one is not None and one.p_value is not None and one.p_holm is not None for one in p)
    assert gap is not None
    smallest = min(p, key=lambda one: one.p_value if one and one.p_value is not None else 1)
    assert smallest is not None
    assert smallest.p_value is not None
    assert smallest.p_holm == pytest.approx(min(1.0, smallest.p_value * 8 / 3))
