"""The calibration error against a loop that follows the definition literally."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from sft.evaluation.calibration_error import calibration_error


def by_hand(confidences: list[float], correct: list[bool], bins: int, norm: str) -> float:
    distances, weights = [], []
    for index in range(bins):
        inside = [
            row
            for row, confidence in enumerate(confidences)
            if index / bins < confidence <= (index + 1) / bins or (index == 0 and confidence == 0)
        ]
        if not inside:
            continue
        accuracy = sum(correct[row] for row in inside) / len(inside)
        confidence = sum(confidences[row] for row in inside) / len(inside)
        distances.append(abs(accuracy - confidence))
        weights.append(len(inside) / len(confidences))
    if norm == "max":
        return max(distances)
    power = {"l1": 1, "l2": 2}[norm]
    return sum(weight * distance**power for weight, distance in zip(weights, distances, strict=True)) ** (1 / power)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("bins", [1, 2, 15, 100])
def test_equals_the_definition(bins: int, norm: str) -> None:
    generator = np.random.default_rng(bins)
    for rows in (1, 2, 50, 400):
        confidences = generator.random(rows).round(2)  # many on the edges of bins
        correct = generator.random(rows) < confidences**2
        error = calibration_error(confidences, correct, bins, norm)  # type: ignore[arg-type]
        assert error == pytest.approx(by_hand(confidences.tolist(), correct.tolist(), bins, norm), abs=1e-12)


def test_figures_computed_by_hand() -> None:
    confidences, correct = [0.95, 0.95, 0.55, 0.55], [True, False, True, True]
    assert calibration_error(confidences, correct, bins=10) == pytest.approx(0.45)
    assert calibration_error(confidences, [True, True, True, True], bins=10) == pytest.approx(0.25)
    assert calibration_error(confidences, [True] * 4, bins=10, norm="max") == pytest.approx(0.45)
    expected = math.sqrt((0.05**2 + 0.45**2) / 2)
    assert calibration_error(confidences, [True] * 4, bins=10, norm="l2") == pytest.approx(expected)
    assert calibration_error(confidences, [True] * 4, bins=1) == pytest.approx(0.25)


def test_the_ends_of_the_scale_are_included_without_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert calibration_error([1.0, 1.0], [True, True]) == 0
        assert calibration_error([1.0 + 1e-12], [True]) < 1e-11
        assert calibration_error([0.0], [False]) == 0
        assert calibration_error([1.0], [False]) == 1


def test_invalid_input_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        calibration_error([], [])
    with pytest.raises(ValueError, match="l3"):
        calibration_error([0.5], [True], norm="l3")  # type: ignore[arg-type]
