"""Supervised calibration: it finds the stated optimum; its effect on good and on bad scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from sft.calibration.arithmetic import log_probabilities, probabilities
from sft.calibration.base import Evidence
from sft.calibration.supervised import fit, supervised


def stated_loss(point: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> float:
    """Summed log-loss in nats plus half of (w - 1)^2 + b^2; a row at a time."""
    scale, shift = np.split(point, 2)
    loss = 0.5 * ((scale - 1) ** 2).sum() + 0.5 * (shift**2).sum()
    for row, label in zip(scores.astype(np.float64), labels, strict=True):
        log_p = row - np.logaddexp.reduce(row)
        z = scale * log_p + shift
        loss -= z[label] - np.logaddexp.reduce(z)
    return float(loss)


def test_it_finds_the_minimum_that_another_optimiser_finds(evidence: Evidence) -> None:
    scores, labels = evidence.labelled
    result = fit(scores, labels)
    start = np.concatenate([np.ones(4), np.zeros(4)])
    other = minimize(stated_loss, start, args=(scores, labels), method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(np.concatenate(result), other.x, atol=1e-4)
    assert stated_loss(np.concatenate(result), scores, labels) <= other.fun + 1e-9


def test_the_probabilities_are_those_of_the_map(evidence: Evidence) -> None:
    result = supervised(evidence)
    scale, shift = np.array(result.fitted["scale"]), np.array(result.fitted["shift"])
    z = scale * log_probabilities(evidence.scores_NL) + shift
    np.testing.assert_allclose(result.probabilities_NL, np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), rtol=1e-9)


def test_a_shared_bias_and_too_much_confidence_are_learned() -> None:
    source = np.random.default_rng(1)
    labels = source.integers(0, 3, 600)
    good = source.normal(size=(600, 3))
    good[np.arange(600), labels] += 2
    bad = good * 4 + np.array([8.0, 0.0, -8.0])
    learned = supervised(Evidence(bad[300:], train_ML=bad[:300], train_labels_M=labels[:300])).probabilities_NL
    plain = probabilities(bad[300:])
    rows = np.arange(300), labels[300:]
    assert (learned.argmax(axis=1) == labels[300:]).mean() > (plain.argmax(axis=1) == labels[300:]).mean() + 0.2
    assert -np.log(learned[rows]).mean() < 0.5 < -np.log(plain[rows]).mean()


def test_scores_without_information_end_at_even_probabilities_and_few_rows_move_little() -> None:
    scores = np.tile([[2.0, 0.0]], (400, 1))
    labels = np.arange(400) % 2
    even = supervised(Evidence(scores[:1], train_ML=scores, train_labels_M=labels)).probabilities_NL
    np.testing.assert_allclose(even, [[0.5, 0.5]], atol=0.01)
    one = fit(np.array([[2.0, 0.0]]), np.array([0]))
    np.testing.assert_allclose(np.concatenate(one), [1, 1, 0, 0], atol=0.2)


def test_adding_a_constant_to_a_row_changes_nothing(evidence: Evidence) -> None:
    moved = replace(
        evidence,
        scores_NL=evidence.scores_NL + np.arange(40.0)[:, None],
        train_ML=evidence.labelled[0] - np.arange(30.0)[:, None],
    )
    np.testing.assert_allclose(supervised(moved).probabilities_NL, supervised(evidence).probabilities_NL, rtol=1e-4)


def test_the_same_rows_give_the_same_numbers_and_labels_may_be_missing(evidence: Evidence) -> None:
    again = supervised(evidence), supervised(evidence)
    assert again[0].fitted == again[1].fitted
    scores, labels = evidence.labelled
    without_some_labels = supervised(replace(evidence, train_ML=scores[labels < 2], train_labels_M=labels[labels < 2]))
    np.testing.assert_allclose(without_some_labels.probabilities_NL.sum(axis=1), 1)


def test_scores_far_apart_are_fitted_too() -> None:
    source = np.random.default_rng(3)
    scores, labels = source.normal(scale=300, size=(80, 20)), np.arange(80) % 20
    point = np.concatenate(fit(scores, labels))
    least = stated_loss(point, scores, labels)
    for _ in range(20):
        assert stated_loss(point + source.normal(scale=1e-3, size=40), scores, labels) > least
