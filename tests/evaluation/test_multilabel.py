"""Sets of labels: as strings, from probabilities, and their metrics."""

from __future__ import annotations

import numpy as np
import pytest

from sft.evaluation.multilabel import (
    DEFAULT_THRESHOLD,
    best_threshold,
    membership,
    multilabel_metrics,
    set_text,
    set_texts,
    yes_probabilities,
)

LABELS = ("joy", 'quoted, "odd"', "anger")


def test_sets_and_texts() -> None:
    there_NL = np.array([[True, True, False], [False, False, False]])
    texts = set_texts(there_NL, LABELS)
    assert texts == (set_text(LABELS[:2]), "[]")
    assert (membership(texts, LABELS) == there_NL).all()
    assert membership((), LABELS).shape == (0, 3)


def test_yes_against_no() -> None:
    yes_NL = yes_probabilities(np.array([[-50.0, -50.0, -3.0, -1.0], [-1e4, -1.0, 0.0, -1e4]]))
    assert np.allclose(yes_NL, [[0.5, 1 / (1 + np.e**2)], [0, 1]])
    common = yes_probabilities(np.array([[-50.0, -50.0, -9.0, -7.0]]))  # the common part cancels out
    assert np.allclose(common, yes_NL[:1])


def test_the_metrics_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    source = np.random.default_rng(3)
    truth_NL, predicted_NL = source.random((40, 3)) < 0.3, source.random((40, 3)) < 0.4
    truth_NL[:, 2] = predicted_NL[:, 2] = False  # a label that never appears
    results = multilabel_metrics(truth_NL, predicted_NL, LABELS)
    for average in ("macro", "micro"):
        assert results[f"{average}_f1"] == pytest.approx(
            f1_score(truth_NL, predicted_NL, average=average, zero_division=0)
        )
    empty_N = ~(truth_NL.any(axis=1) | predicted_NL.any(axis=1))
    assert empty_N.any()
    samples = f1_score(truth_NL[~empty_N], predicted_NL[~empty_N], average="samples", zero_division=0)
    assert results["sample_f1"] == pytest.approx((samples * (~empty_N).sum() + empty_N.sum()) / 40)
    assert results["subset_accuracy"] == pytest.approx(accuracy_score(truth_NL, predicted_NL))
    assert results["question_accuracy"] == pytest.approx((truth_NL == predicted_NL).mean())
    each = f1_score(truth_NL, predicted_NL, average=None, zero_division=0)
    assert list(results["per_label_f1"].values()) == pytest.approx(list(each))
    assert results["support"] == dict(zip(LABELS, truth_NL.sum(axis=0).tolist(), strict=True))


def test_invalid_input_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        multilabel_metrics(np.zeros((0, 3), bool), np.zeros((0, 3), bool), LABELS)
    with pytest.raises(ValueError, match="expected two arrays of shape"):
        multilabel_metrics(np.zeros((2, 3), bool), np.zeros((2, 2), bool), LABELS)


def test_the_threshold_is_the_best_in_macro_f1() -> None:
    source = np.random.default_rng(5)
    truth_ML = source.random((30, 3)) < 0.4
    yes_ML = np.clip(0.15 * truth_ML + 0.2 * source.random((30, 3)), 0, 1)  # all unlikely, but distinguishable
    threshold = best_threshold(yes_ML, truth_ML)
    best = multilabel_metrics(truth_ML, yes_ML >= threshold, LABELS)["macro_f1"]
    for other in np.linspace(0, 1, 300):
        assert multilabel_metrics(truth_ML, yes_ML >= other, LABELS)["macro_f1"] <= best + 1e-9
    assert best > 0.9 > multilabel_metrics(truth_ML, yes_ML >= DEFAULT_THRESHOLD, LABELS)["macro_f1"]


def test_among_tied_thresholds_the_middle_is_chosen() -> None:
    truth = np.array([[True], [False]])
    assert best_threshold(np.array([[0.9], [0.1]]), truth) == DEFAULT_THRESHOLD
    assert best_threshold(np.array([[0.9], [0.7]]), truth) == pytest.approx(0.8)
    assert best_threshold(np.zeros((0, 1)), np.zeros((0, 1), bool)) == DEFAULT_THRESHOLD
    many = np.linspace(0, 1, 5000)[:, None]
    assert best_threshold(many, many > 0.3) == pytest.approx(0.3, abs=0.01)
