"""Classification metrics against scikit-learn and against figures computed by hand; edge cases do not warn."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from sklearn import metrics

from sft.evaluation.classification import classification_metrics

NAMES = [
    "accuracy", "macro_f1", "micro_f1", "weighted_f1", "macro_precision", "macro_recall", "mcc", "ece", "brier",
    "log_loss", "auroc", "confusion_matrix", "support",
]  # fmt: skip


def drawn(labels: list[str], rows: int, seed: int) -> tuple[list[str], list[str], np.ndarray]:
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(rows, len(labels)))
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    truth = [labels[generator.choice(len(labels), p=row)] for row in probabilities]
    return truth, [labels[column] for column in probabilities.argmax(axis=1)], probabilities


@pytest.mark.parametrize("labels", [["no", "yes"], ["c", "a", "b"], [f"label {n}" for n in range(12, 0, -1)]])
def test_equals_scikit_learn_whatever_the_order_of_the_labels(labels: list[str]) -> None:
    truth, guess, probabilities = drawn(labels, 300, len(labels))
    results = classification_metrics(truth, guess, labels, probabilities)
    assert list(results) == NAMES
    for average in ("macro", "micro", "weighted"):
        assert results[f"{average}_f1"] == pytest.approx(metrics.f1_score(truth, guess, average=average))
    assert results["accuracy"] == pytest.approx(metrics.accuracy_score(truth, guess))
    assert results["macro_precision"] == pytest.approx(metrics.precision_score(truth, guess, average="macro"))
    assert results["macro_recall"] == pytest.approx(metrics.recall_score(truth, guess, average="macro"))
    assert results["mcc"] == pytest.approx(metrics.matthews_corrcoef(truth, guess))
    assert results["confusion_matrix"] == metrics.confusion_matrix(truth, guess, labels=labels).tolist()
    assert results["support"] == {label: truth.count(label) for label in labels}
    # scikit-learn expects the columns in alphabetical order
    order = sorted(range(len(labels)), key=lambda column: labels[column])
    columns = probabilities[:, order]
    assert results["log_loss"] == pytest.approx(metrics.log_loss(truth, columns))
    scores = columns[:, 1] if len(labels) == 2 else columns
    assert results["auroc"] == pytest.approx(metrics.roc_auc_score(truth, scores, multi_class="ovr"))
    hot = np.array([[label == reference for label in labels] for reference in truth])
    assert results["brier"] == pytest.approx(((probabilities - hot) ** 2).sum(axis=1).mean())


def test_figures_computed_by_hand() -> None:
    truth, guess, labels = ["a", "a", "b"], ["a", "b", "b"], ["b", "a"]
    probabilities = np.array([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1]])
    results = classification_metrics(truth, guess, labels, probabilities, ece_bins=1)
    assert results["accuracy"] == pytest.approx(2 / 3)
    assert results["macro_f1"] == pytest.approx(2 / 3)
    assert results["macro_precision"] == pytest.approx(3 / 4)
    assert results["macro_recall"] == pytest.approx(3 / 4)
    assert results["confusion_matrix"] == [[1, 0], [1, 1]]
    assert results["ece"] == pytest.approx(abs(2 / 3 - (0.8 + 0.6 + 0.9) / 3))
    assert results["log_loss"] == pytest.approx(-(math.log(0.8) + math.log(0.4) + math.log(0.9)) / 3)
    assert results["brier"] == pytest.approx(2 * (0.2**2 + 0.6**2 + 0.1**2) / 3)
    assert results["auroc"] == 1


def test_labels_that_never_appear_count_zero() -> None:
    truth, guess, probabilities = drawn(["a", "b"], 50, 0)
    wide = np.hstack([probabilities, np.zeros((50, 1))])
    results = classification_metrics(truth, guess, ["a", "b", "c"], wide)
    assert results["macro_f1"] == pytest.approx(metrics.f1_score(truth, guess, average="macro") * 2 / 3)
    assert results["weighted_f1"] == pytest.approx(metrics.f1_score(truth, guess, average="weighted"))
    assert results["support"]["c"] == 0
    assert results["auroc"] == pytest.approx(metrics.roc_auc_score(truth, probabilities[:, 1]))


def test_the_norm_and_the_bins_reach_the_calibration_error() -> None:
    truth, guess, probabilities = drawn(["a", "b", "c"], 80, 1)
    results = {
        (bins, norm): classification_metrics(
            truth, guess, ["a", "b", "c"], probabilities, ece_bins=bins, ece_norm=norm
        )["ece"]
        for bins, norm in ((15, "l1"), (15, "max"), (3, "l1"))
    }
    assert len(set(results.values())) == 3


def test_without_probabilities_probabilistic_metrics_are_none(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sft"):
        results = classification_metrics(["a", "b"], ["a", "a"], ["a", "b"], None)
    assert list(results) == NAMES
    assert [name for name in NAMES if results[name] is None] == ["ece", "brier", "log_loss", "auroc"]
    assert "No probabilities" in caplog.text


def test_one_label_in_the_references(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sft"):
        results = classification_metrics(["a", "a"], ["a", "b"], ["a", "b"], [[0.7, 0.3], [0.4, 0.6]])
    assert results["auroc"] is None
    assert "auroc is not defined" in caplog.text
    assert results["accuracy"] == 0.5
    assert results["macro_recall"] == 0.25
    assert results["log_loss"] == pytest.approx(-(math.log(0.7) + math.log(0.4)) / 2)


def test_one_row_all_right_all_wrong_and_one_label_do_not_warn() -> None:
    right = classification_metrics(["a"], ["a"], ["a", "b"], [[1.0, 0.0]])
    assert (right["accuracy"], right["ece"], right["brier"], right["mcc"]) == (1, 0, 0, 0)
    wrong = classification_metrics(["a"], ["b"], ["a", "b"], [[0.0, 1.0]])
    assert (wrong["accuracy"], wrong["ece"], wrong["brier"]) == (0, 1, 2)
    assert wrong["log_loss"] is None  # infinite, which JSON cannot hold
    only = classification_metrics(["a", "a"], ["a", "a"], ["a"], [[1.0], [1.0]])
    assert (only["accuracy"], only["log_loss"], only["auroc"]) == (1, None, None)


def test_a_prediction_outside_the_labels_is_wrong() -> None:
    results = classification_metrics(["a", "b"], ["a", "neither"], ["a", "b"], None)
    assert results["accuracy"] == 0.5
    assert results["confusion_matrix"] == [[1, 0], [0, 0]]


def test_invalid_input_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        classification_metrics([], [], ["a"], None)
    with pytest.raises(ValueError, match="2 references and 1 predictions"):
        classification_metrics(["a", "a"], ["a"], ["a"], None)
    with pytest.raises(ValueError, match="not among the labels: c"):
        classification_metrics(["c"], ["a"], ["a", "b"], None)
    with pytest.raises(ValueError, match=r"expected probabilities of shape \(1, 2\), got \(1, 3\)"):
        classification_metrics(["a"], ["a"], ["a", "b"], [[0.2, 0.3, 0.5]])


def test_metrics_are_json() -> None:
    import json

    truth, guess, probabilities = drawn(["a", "b", "c"], 20, 3)
    json.dumps(classification_metrics(truth, guess, ["a", "b", "c"], probabilities), allow_nan=False)
