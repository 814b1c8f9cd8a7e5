"""Batch calibration against the paper's formulas, and its invariances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from sft.calibration.arithmetic import probabilities
from sft.calibration.base import Evidence, Settings
from sft.calibration.batch import adjustable_batch, batch, best_gamma, gammas, macro_f1


def zhou(scores: np.ndarray, strength: float, rows: int) -> np.ndarray:
    """log p(y | x) minus the strength times its mean over some rows, as probabilities; a row and a label at a time."""
    result = np.empty(scores.shape)
    for row in range(len(scores)):
        for label in range(scores.shape[1]):
            mean = sum(float(scores[other, label]) for other in range(rows)) / rows
            result[row, label] = np.exp(float(scores[row, label]) - strength * mean)
        result[row] /= result[row].sum()
    return result


@pytest.mark.parametrize("count", [None, 1, 7, 40, 1000])
def test_the_mean_of_the_first_rows_is_subtracted(evidence: Evidence, count: int | None) -> None:
    result = batch(replace(evidence, settings=Settings(num_estimations=count)))
    expected = zhou(evidence.scores_NL, 1, min(count or 40, 40))
    np.testing.assert_allclose(result.probabilities_NL, expected, rtol=1e-6)


def test_a_bias_that_all_rows_share_disappears(evidence: Evidence) -> None:
    shifted = replace(evidence, scores_NL=evidence.scores_NL + np.array([9.0, -3.0, 0.0, 20.0]))
    np.testing.assert_allclose(batch(shifted).probabilities_NL, batch(evidence).probabilities_NL, rtol=1e-4)


def test_adding_a_constant_to_a_row_changes_nothing(evidence: Evidence) -> None:
    moved = replace(evidence, scores_NL=evidence.scores_NL + np.arange(40.0)[:, None])
    np.testing.assert_allclose(batch(moved).probabilities_NL, batch(evidence).probabilities_NL, rtol=1e-6)


def test_on_balanced_rows_it_recentres() -> None:
    """Each label is predicted for as many rows as it has, once the bias is removed."""
    labels = np.arange(60) % 3
    scores = np.random.default_rng(0).normal(size=(60, 3)) * 0.1
    scores[np.arange(60), labels] += 1
    biased = scores + np.array([5.0, 0.0, -5.0])
    assert (biased.argmax(axis=1) == 0).all()
    result = batch(Evidence(biased)).probabilities_NL
    np.testing.assert_array_equal(result.argmax(axis=1), labels)
    np.testing.assert_allclose(np.log(result).mean(axis=0) - np.log(result).mean(), 0, atol=1e-12)


def test_without_preferences_it_changes_nothing(evidence: Evidence) -> None:
    centred = evidence.scores_NL - evidence.scores_NL.mean(axis=0)
    np.testing.assert_allclose(batch(Evidence(centred)).probabilities_NL, probabilities(centred), rtol=1e-5)


def test_the_strength_is_that_with_the_best_macro_f1_on_labelled_rows(evidence: Evidence) -> None:
    scores, labels = evidence.labelled
    result = adjustable_batch(evidence)
    tried = np.linspace(-5, 5, 50)
    f1 = [
        f1_score(labels, (scores - gamma * scores.mean(axis=0)).argmax(axis=1), average="macro", zero_division=0)
        for gamma in tried
    ]
    assert result.fitted["gamma"] in tried[np.isclose(f1, max(f1))]
    assert max(f1) > f1[0]
    np.testing.assert_allclose(result.probabilities_NL, zhou(evidence.scores_NL, result.fitted["gamma"], 40), rtol=1e-6)


def test_the_strength_is_learned_from_the_labelled_rows_alone(evidence: Evidence) -> None:
    other = replace(evidence, scores_NL=evidence.scores_NL[:7] * 3, settings=Settings(num_estimations=2))
    assert adjustable_batch(other).fitted == adjustable_batch(evidence).fitted


def test_range_and_number_of_strengths(evidence: Evidence) -> None:
    few = replace(evidence, settings=Settings(gamma_range=(-3.0, -1.0), gamma_steps=2))
    assert adjustable_batch(few).fitted["gamma"] in (-3.0, -1.0)
    np.testing.assert_allclose(gammas((-5.0, 5.0), 50)[[0, 1, -1]], [-5, -5 + 10 / 49, 5])


def test_among_tied_strengths_the_nearest_to_one_is_chosen() -> None:
    """Without a bias all strengths tie: no extreme strength is chosen by accident."""
    scores = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert best_gamma(scores, np.array([0, 1]), gammas((-5.0, 5.0), 50)) == pytest.approx(-5 + 29 * 10 / 49)


def test_strength_one_is_batch_calibration(evidence: Evidence) -> None:
    one = replace(evidence, settings=Settings(gamma_range=(1.0, 1.0 + 1e-12), gamma_steps=2))
    np.testing.assert_allclose(adjustable_batch(one).probabilities_NL, batch(evidence).probabilities_NL, rtol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_is_scikit_learns(seed: int) -> None:
    source = np.random.default_rng(seed)
    labels, guesses = source.integers(0, 5, 12), source.integers(0, 5, 12)
    expected = f1_score(labels, guesses, labels=range(6), average="macro", zero_division=0)
    assert macro_f1(guesses, labels, 6) == pytest.approx(expected)
