"""Classification metrics against scikit-learn called directly, and on paper; the edges stay silent."""

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
    return truth, [labels[place] for place in probabilities.argmax(axis=1)], probabilities


@pytest.mark.parametrize("labels", [["no", "yes"], ["c", "a", "b"], [f"label {n}" for n in range(12, 0, -1)]])
def test_equals_scikit_learn_whatever_the_order_of_the_labels(labels: list[str]) -> None:
    truth, guess, probabilities = drawn(labels, 300, len(labels))
    found = classification_metrics(truth, guess, labels, probabilities)
    assert list(found) == NAMES
    for average in ("macro", "micro", "weighted"):
        assert found[f"{average}_f1"] == pytest.approx(metrics.f1_score(truth, guess, average=average))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, guess))
    assert found["macro_precision"] == pytest.approx(metrics.precision_score(truth, guess, average="macro"))
    assert found["macro_recall"] == pytest.approx(metrics.recall_score(truth, guess, average="macro"))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(truth, guess))
    assert found["confusion_matrix"] == metrics.confusion_matrix(truth, guess, labels=labels).tolist()
    assert found["support"] == {label: truth.count(label) for label in labels}
    # scikit-learn wants the columns in alphabetical order
    order = sorted(range(len(labels)), key=lambda column: labels[column])
    columns = probabilities[:, order]
    assert found["log_loss"] == pytest.approx(metrics.log_loss(truth, columns))
    scores = columns[:, 1] if len(labels) == 2 else columns
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(truth, scores, multi_class="ovr"))
    hot = np.array([[label == reference for label in labels] for reference in truth])
    assert found["brier"] == pytest.approx(((probabilities - hot) ** 2).sum(axis=1).mean())


def test_figures_worked_out_on_paper() -> None:
    truth, guess, labels = ["a", "a", "b"], ["a", "b", "b"], ["b", "a"]
    probabilities = np.array([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1]])
    found = classification_metrics(truth, guess, labels, probabilities, ece_bins=1)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx(2 / 3)
    assert found["macro_precision"] == pytest.approx(3 / 4)
    assert found["macro_recall"] == pytest.approx(3 / 4)
    assert found["confusion_matrix"] == [[1, 0], [1, 1]]
    assert found["ece"] == pytest.approx(abs(2 / 3 - (0.8 + 0.6 + 0.9) / 3))
    assert found["log_loss"] == pytest.approx(-(math.log(0.8) + math.log(0.4) + math.log(0.9)) / 3)
    assert found["brier"] == pytest.approx(2 * (0.2**2 + 0.6**2 + 0.1**2) / 3)
    assert found["auroc"] == 1


def test_labels_that_are_never_met_count_zero() -> None:
    truth, guess, probabilities = drawn(["a", "b"], 50, 0)
    wide = np.hstack([probabilities, np.zeros((50, 1))])
    found = classification_metrics(truth, guess, ["a", "b", "c"], wide)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth, guess, average="macro") * 2 / 3)
    assert found["weighted_f1"] == pytest.approx(metrics.f1_score(truth, guess, average="weighted"))
    assert found["support"]["c"] == 0
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(truth, probabilities[:, 1]))


def test_the_norm_and_the_bins_reach_the_calibration_error() -> None:
    truth, guess, probabilities = drawn(["a", "b", "c"], 80, 1)
    found = {
        (bins, norm): classification_metrics(
            truth, guess, ["a", "b", "c"], probabilities, ece_bins=bins, ece_norm=norm
        )["ece"]
        for bins, norm in ((15, "l1"), (15, "max"), (3, "l1"))
    }
    assert len(set(found.values())) == 3


def test_without_probabilities_what_needs_them_is_none(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sft"):
        found = classification_metrics(["a", "b"], ["a", "a"], ["a", "b"], None)
    assert list(found) == NAMES
    assert [name for name in NAMES if found[name] is None] == ["ece", "brier", "log_loss", "auroc"]
    assert "No probabilities" in caplog.text


def test_one_label_in_the_references(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sft"):
        found = classification_metrics(["a", "a"], ["a", "b"], ["a", "b"], [[0.7, 0.3], [0.4, 0.6]])
    assert found["auroc"] is None
    assert "auroc is not defined" in caplog.text
    assert found["accuracy"] == 0.5
    assert found["macro_recall"] == 0.25
    assert found["log_loss"] == pytest.approx(-(math.log(0.7) + math.log(0.4)) / 2)


def test_one_row_all_right_all_wrong_and_one_label_stay_silent() -> None:
    right = classification_metrics(["a"], ["a"], ["a", "b"], [[1.0, 0.0]])
    assert (right["accuracy"], right["ece"], right["brier"], right["mcc"]) == (1, 0, 0, 0)
    wrong = classification_metrics(["a"], ["b"], ["a", "b"], [[0.0, 1.0]])
    assert (wrong["accuracy"], wrong["ece"], wrong["brier"]) == (0, 1, 2)
    assert wrong["log_loss"] is None  # infinite, which JSON cannot say
    only = classification_metrics(["a", "a"], ["a", "a"], ["a"], [[1.0], [1.0]])
    assert (only["accuracy"], only["log_loss"], only["auroc"]) == (1, None, None)


def test_a_prediction_outside_the_labels_is_wrong() -> None:
    found = classification_metrics(["a", "b"], ["a", "neither"], ["a", "b"], None)
    assert found["accuracy"] == 0.5
    assert found["confusion_matrix"] == [[1, 0], [0, 0]]


def test_what_is_not_defined_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        classification_metrics([], [], ["a"], None)
    with pytest.raises(ValueError, match="2 references and 1 predictions"):
        classification_metrics(["a", "a"], ["a"], ["a"], None)
    with pytest.raises(ValueError, match="not in the list: c"):
        classification_metrics(["c"], ["a"], ["a", "b"], None)
    with pytest.raises(ValueError, match=r"\(1, 3\), not \(1, 2\)"):
        classification_metrics(["a"], ["a"], ["a", "b"], [[0.2, 0.3, 0.5]])


def test_metrics_are_json() -> None:
    import json

    truth, guess, probabilities = drawn(["a", "b", "c"], 20, 3)
    json.dumps(classification_metrics(truth, guess, ["a", "b", "c"], probabilities), allow_nan=False)
