"""`temperature`: the temperature with the lowest log-loss on labelled rows, within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft.calibration.apply import calibrate
from sft.calibration.arithmetic import log_probabilities
from sft.calibration.base import Evidence
from sft.calibration.temperature import BOUNDS, best_temperature
from sft.errors import UserError

GRID = np.exp(np.linspace(*np.log(BOUNDS), 4001))


def log_loss(scores_ML: np.ndarray, labels_M: np.ndarray, temperature: float) -> float:
    log_q_ML = log_probabilities(scores_ML / temperature)
    return -float(log_q_ML[np.arange(len(labels_M)), labels_M].sum())


def drawn(seed: int, rows: int, labels: int, true: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and labels drawn from them at a temperature."""
    random = np.random.default_rng(seed)
    scores_ML = random.normal(0, 3, (rows, labels))
    noise_ML = random.gumbel(size=(rows, labels))
    return scores_ML, (scores_ML / true + noise_ML).argmax(axis=1)


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 6))
def test_no_temperature_of_a_fine_grid_is_better(seed: int, rows: int, labels: int) -> None:
    scores_ML, labels_M = drawn(seed, rows, labels)
    best = best_temperature(scores_ML, labels_M)
    assert BOUNDS[0] <= best <= BOUNDS[1]
    log_q_TML = log_probabilities(scores_ML / GRID[:, None, None])
    lowest = -log_q_TML[:, np.arange(rows), labels_M].sum(axis=1).max()
    assert log_loss(scores_ML, labels_M, best) <= lowest + 1e-6


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_that_labels_were_drawn_at_is_found(true: float) -> None:
    assert best_temperature(*drawn(0, 20_000, 4, true)) == pytest.approx(true, rel=0.05)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_rows_that_are_all_right_or_all_wrong_end_at_a_bound(scale: float) -> None:
    scores_ML = np.array([[2.0, 0.0], [0.0, 3.0]]) * scale
    right, wrong = np.array([0, 1]), np.array([1, 0])
    assert BOUNDS[0] <= best_temperature(scores_ML, right) <= 1
    assert best_temperature(scores_ML, wrong) == pytest.approx(BOUNDS[1], rel=1e-3)


def test_rows_that_teach_nothing_change_nothing() -> None:
    labels_M = np.array([0, 1])
    assert best_temperature(np.zeros((2, 2)), labels_M) == 1.0
    impossible = np.array([[-np.inf, 0.0], [0.0, -np.inf]])
    assert best_temperature(impossible, labels_M) == 1.0


def test_predictions_stay_and_the_temperature_is_reported() -> None:
    scores_ML, labels_M = drawn(3, 50, 4, true=2.0)
    scores_NL = np.random.default_rng(4).normal(0, 5, (30, 4))
    result = calibrate("temperature", Evidence(scores_NL, train_ML=scores_ML, train_labels_M=labels_M))
    assert (result.probabilities_NL.argmax(axis=1) == scores_NL.argmax(axis=1)).all()
    expected = np.exp(log_probabilities(scores_NL / result.fitted["temperature"]))
    np.testing.assert_allclose(result.probabilities_NL, expected, rtol=1e-9)


def test_it_needs_labelled_rows() -> None:
    with pytest.raises(UserError, match="temperature"):
        calibrate("temperature", Evidence(np.zeros((2, 2))))
