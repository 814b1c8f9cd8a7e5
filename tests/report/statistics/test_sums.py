"""Metrics as sums over rows equal the metrics of the evaluation; contributions equal the effect of leaving out rows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

from sft.evaluation.calibration_error import calibration_error
from sft.evaluation.classification import classification_metrics
from sft.evaluation.multilabel import multilabel_metrics
from sft.report.statistics import sums
from sft.report.statistics.sums import Sums, calibration_l1, confusion, means, multilabel

LABELS = ["a", "b", "c", "d"]


def answers(rows: int, seed: int, labels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return references and predictions, some of which agree; the last of LABELS is never present."""
    rng = np.random.default_rng(seed)
    reference_N = rng.integers(0, labels, rows)
    predicted_N = np.where(rng.random(rows) < 0.6, reference_N, rng.integers(0, labels, rows))
    return reference_N, predicted_N


def left_out(made: Sums, metric: str) -> np.ndarray:
    """Return the metric without each row in turn, computed again each time."""
    rows_NK = made.distinct_GK[made.group_N]
    without = [np.delete(rows_NK, row, axis=0) for row in range(len(made))]
    return np.array([made.function(rows.sum(axis=0), float(len(rows)))[metric] for rows in without])


@pytest.mark.parametrize(("rows", "labels", "outside"), [(200, 3, 0), (40, 4, 0), (60, 3, 7), (5, 2, 0), (9, 1, 0)])
def test_a_confusion_gives_the_metrics_of_the_evaluation(rows: int, labels: int, outside: int) -> None:
    reference_N, predicted_N = answers(rows, rows, labels)
    predicted_N[:outside] = -1
    names = [*LABELS, "somewhere else"]
    known = classification_metrics([names[n] for n in reference_N], [names[n] for n in predicted_N], LABELS, None)

    result = confusion(reference_N, predicted_N, len(LABELS)).values()

    for metric in ("micro_f1", "macro_f1", "weighted_f1", "macro_precision", "macro_recall", "mcc"):
        assert result[metric] == pytest.approx(known[metric], abs=1e-12), metric
    if labels > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a predicted label that is never present
            assert result["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(reference_N, predicted_N))
        assert result["cohen_kappa"] == pytest.approx(cohen_kappa_score(reference_N, predicted_N))


def test_sets_of_labels_give_the_metrics_of_the_evaluation() -> None:
    rng = np.random.default_rng(1)
    truth_NL, given_NL = rng.random((70, 11)) < 0.3, rng.random((70, 11)) < 0.3
    truth_NL[:, 10] = given_NL[:, 10] = False
    known = multilabel_metrics(truth_NL, given_NL, [str(label) for label in range(11)])
    result = multilabel(truth_NL, given_NL).values()
    assert result["macro_f1"] == pytest.approx(known["macro_f1"], abs=1e-12)
    assert result["micro_f1"] == pytest.approx(known["micro_f1"], abs=1e-12)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_gaps_of_bins_give_the_calibration_error(bins: int) -> None:
    rng = np.random.default_rng(2)
    confidence_N = np.concatenate([rng.random(90), np.arange(0, 1.01, 0.1)])  # on the edges too
    right_N = rng.random(101) < confidence_N
    made = calibration_l1(confidence_N, right_N, bins)
    assert made.values()["ece"] == pytest.approx(calibration_error(confidence_N, right_N, bins), abs=1e-12)
    assert not made.resampled


def test_pseudo_values_of_a_mean_are_the_rows_themselves() -> None:
    values_N = np.random.default_rng(3).random(50)
    result = means({"brier": values_N, "accuracy": values_N > 0.5}).pseudo_values()
    np.testing.assert_allclose(result["brier"], values_N, atol=1e-12)
    np.testing.assert_allclose(result["accuracy"], values_N > 0.5, atol=1e-12)


@pytest.mark.parametrize("metric", ["macro_f1", "mcc", "weighted_f1", "macro_precision", "balanced_accuracy"])
def test_contributions_give_the_difference_to_first_order_and_0_for_equal_answers(metric: str) -> None:
    reference_N, first_N = answers(400, 7)
    second_N = first_N.copy()
    second_N[:12] = (second_N[:12] + 1) % 3
    both = [confusion(reference_N, predicted_N, 4) for predicted_N in (first_N, second_N)]
    gradient_K = both[0].gradients((both[0].total_K + both[1].total_K) / 2)[metric]

    apart_N = both[0].along(gradient_K) - both[1].along(gradient_K)

    assert apart_N.mean() == pytest.approx(both[0].values()[metric] - both[1].values()[metric], rel=1e-3)
    assert np.flatnonzero(apart_N).max() < 12


def test_gradients_are_derivatives_even_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    reference_N, predicted_N = answers(300, 8)
    made = confusion(reference_N, predicted_N, 4)  # the last label is never present: sums of 0
    _, given_L, met_L = np.split(made.total_K, 3)
    whole = made.gradients(made.total_K)
    known_L = 2 / np.where(met_L > 0, given_L + met_L, np.inf) / 4
    np.testing.assert_allclose(whole["macro_f1"][:4], known_L, atol=1e-9)
    monkeypatch.setattr(sums, "_MOST_NUMBERS", 13)
    for name, gradient_K in made.gradients(made.total_K).items():
        assert gradient_K.tolist() == whole[name].tolist()


def test_metrics_that_rest_on_few_rows_have_no_interval_over_rows() -> None:
    reference_N = np.repeat([0, 1, 2], [100, 80, 10])
    few_wrong_N = reference_N.copy()
    few_wrong_N[:4] = 1
    assert confusion(reference_N, few_wrong_N, 3).unsure >= {"macro_f1", "mcc", "weighted_f1"}
    some_wrong_N = reference_N.copy()
    some_wrong_N[[*range(5), *range(100, 105)]] = (reference_N[[*range(5), *range(100, 105)]] + 1) % 3
    averages = {"macro_precision", "macro_recall", "balanced_accuracy"}
    assert confusion(reference_N, some_wrong_N, 3).unsure == averages
    assert confusion(reference_N[:-1], some_wrong_N[:-1], 3).unsure == {"macro_f1", *averages}
    assert not means({"brier": [0.5] * 9}).unsure
    assert calibration_l1(np.ones(9), np.ones(9, dtype=np.bool_), 5).unsure == {"ece"}


def test_a_single_row_has_the_metric_as_its_pseudo_value() -> None:
    result = confusion(np.array([1]), np.array([1]), 2).pseudo_values()
    assert result["macro_f1"].tolist() == [0.5]


def test_pseudo_values_equal_the_effect_of_leaving_out_a_row() -> None:
    reference_N, predicted_N = answers(40, 4)
    rng = np.random.default_rng(4)
    several = [
        (confusion(reference_N, predicted_N, 3), "macro_f1"),
        (confusion(reference_N, predicted_N, 3), "mcc"),
        (multilabel(rng.random((30, 4)) < 0.4, rng.random((30, 4)) < 0.4), "macro_f1"),
        (calibration_l1(rng.random(30), rng.random(30) < 0.5, 5), "ece"),
    ]
    for made, metric in several:
        result, without = made.pseudo_values()[metric], left_out(made, metric)
        assert result.mean() == pytest.approx(made.values()[metric])
        np.testing.assert_allclose(result - result.mean(), (len(made) - 1) * (without.mean() - without), atol=1e-9)
