"""Log-loss against arithmetic with sixty digits, for scores of any size; and the reason if it is infinite."""

from __future__ import annotations

import json
import logging
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft.calibration.arithmetic import log_probabilities, probabilities
from sft.evaluation.classification import Probabilities, classification_metrics, undefined_metrics

LABELS = ("bad", "fine", "good")


def exact_loss(scores: list[float], truth: int) -> Decimal:
    """Minus log-softmax of one row, with sixty digits."""
    with localcontext() as context:
        context.prec = 60
        others = (score for label, score in enumerate(scores) if label != truth)
        rest = sum(((Decimal(score) - Decimal(scores[truth])).exp() for score in others), Decimal(0))
        return (1 + rest).ln() if rest > Decimal("1e-20") else rest - rest * rest / 2  # the series of ln(1 + x)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.lists(st.floats(-3000, 3000, width=32), min_size=3, max_size=3), st.integers(0, 2)),
        min_size=1,
        max_size=8,
    )
)
def test_is_exact_for_scores_of_any_size(rows: list[tuple[list[float], int]]) -> None:
    scores_NL = np.array([scores for scores, _ in rows], dtype=np.float32)
    truth = [LABELS[label] for _, label in rows]
    guesses = [LABELS[column] for column in scores_NL.argmax(axis=1)]
    probabilities_NL = Probabilities(probabilities(scores_NL), log_probabilities(scores_NL))
    computed = classification_metrics(truth, guesses, LABELS, probabilities_NL)["log_loss"]
    known = sum(exact_loss(scores, label) for scores, label in rows) / len(rows)
    assert computed == pytest.approx(float(known), rel=1e-12, abs=1e-300)


def test_is_larger_than_what_scikit_learn_clips_to() -> None:
    scores_NL = np.array([[0.0, -80.0], [0.0, -900.0], [-50.0, 0.0]])
    probabilities_NL = Probabilities(probabilities(scores_NL), log_probabilities(scores_NL))
    computed = classification_metrics(
        ["good", "good", "good"], ["bad", "bad", "good"], ("bad", "good"), probabilities_NL
    )
    assert computed["log_loss"] == pytest.approx((80 + 900 + 0) / 3)


def test_a_probability_that_rounds_to_1_has_a_loss_above_0() -> None:
    scores_NL = np.array([[60.0, 0.0]])
    probabilities_NL = Probabilities(probabilities(scores_NL), log_probabilities(scores_NL))
    computed = classification_metrics(["a"], ["a"], ("a", "b"), probabilities_NL)["log_loss"]
    assert computed == pytest.approx(float(np.exp(-60.0)), rel=1e-12)


def test_probabilities_alone_are_taken_as_they_are() -> None:
    computed = classification_metrics(["a", "b"], ["a", "a"], ("a", "b"), [[0.5, 0.5], [1 - 1e-30, 1e-30]])
    assert computed["log_loss"] == pytest.approx((np.log(2) + 30 * np.log(10)) / 2)


def test_an_infinite_log_loss_is_null_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    probabilities_NL = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    with caplog.at_level(logging.INFO, logger="sft"):
        computed = classification_metrics(["b", "b", "a"], ["a", "a", "a"], ("a", "b"), probabilities_NL)
    assert computed["log_loss"] is None
    assert computed["brier"] == pytest.approx((2 + 2 + 0.5) / 3)
    json.dumps(computed, allow_nan=False)
    reason = "infinite, since 2 rows have probability 0 for the right label"
    with np.errstate(divide="ignore"):
        assert undefined_metrics(["b", "b", "a"], ("a", "b"), np.log(probabilities_NL)) == {"log_loss": reason}
    assert f"{reason.capitalize()}: log_loss is not defined" in caplog.text


def test_only_metrics_that_are_none_have_a_reason() -> None:
    cases = (
        (["a", "a"], ("a", "b"), [[0.7, 0.3], [0.4, 0.6]]),
        (["a", "a"], ("a",), [[1.0], [1.0]]),
        (["a", "b"], ("a", "b"), None),
        (["a", "b"], ("a", "b"), [[0.7, 0.3], [0.4, 0.6]]),
        (["b", "b"], ("a", "b"), [[1.0, 0.0], [0.4, 0.6]]),
    )
    for truth, labels, values in cases:
        computed = classification_metrics(truth, truth, labels, values)
        with np.errstate(divide="ignore"):
            reasons = undefined_metrics(truth, labels, None if values is None else np.log(values))
        assert set(reasons) == {name for name, value in computed.items() if value is None}
