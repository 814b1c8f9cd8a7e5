"""Supervised calibration: a per-class affine map of the label log-probabilities, fitted on labelled rows.

q = softmax(w * log p + b), one w and one b for each label (cf. "Supervised Calibration" of in-context learning,
arXiv 2505.23783, where each class also has a scale of its own, which can reverse a bias instead of only shifting it).
w and b are the most probable values under a standard normal prior around w = 1 and b = 0 ("no change"): a few rows move
them little, many rows far. The problem is convex and has one solution, which Newton's method finds. The same rows give
the same values.

Shapes: L labels, M labelled rows, N rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sft.calibration.arithmetic import log_probabilities, probabilities
from sft.calibration.base import Calibrated, Evidence, Floats

STEPS = 100
_SMALL = 1e-10  # largest gradient that counts as converged
_SHORTEST = 1e-12  # shortest step, as a fraction of Newton's

Doubles = NDArray[np.float64]


class AffineMap(NamedTuple):
    """One scale and one shift for each label."""

    scale_L: Doubles
    shift_L: Doubles

    def scores(self, scores_NL: Floats) -> Doubles:
        """Return the mapped scores of rows; their softmax gives the calibrated probabilities."""
        return log_probabilities(scores_NL) * self.scale_L + self.shift_L

    def probabilities(self, scores_NL: Floats) -> Doubles:
        """Return the calibrated probabilities of rows."""
        return probabilities(self.scores(scores_NL))


def supervised(evidence: Evidence) -> Calibrated:
    """Return the rows' probabilities under the map fitted on the labelled rows.

    Returns:
        The probabilities; `scale` and `shift`, one number for each label.
    """
    affine = fit(*evidence.labelled)
    fitted = {"scale": affine.scale_L.tolist(), "shift": affine.shift_L.tolist()}
    return Calibrated.of_scores(affine.scores(evidence.scores_NL), fitted)


def fit(scores_ML: Floats, labels_M: NDArray[np.int64]) -> AffineMap:
    """Return the map that minimises the summed log-loss of the labels in nats plus half of (w - 1)^2 + b^2.

    Args:
        scores_ML: label scores of the rows; adding a constant to a row changes nothing.
        labels_M: columns of the right labels.
    """
    log_p_ML = log_probabilities(scores_ML)
    labels = log_p_ML.shape[1]
    start = np.concatenate([np.ones(labels), np.zeros(labels)])  # w, then b
    point = start
    for _ in range(STEPS):
        q_ML = probabilities(log_p_ML * point[:labels] + point[labels:])
        gradient = _gradient(log_p_ML, q_ML, labels_M) + point - start
        if np.abs(gradient).max() < _SMALL:
            break
        step = np.linalg.solve(_hessian(log_p_ML, q_ML), gradient)
        before = point
        point = _descend(partial(_loss, log_p_ML, labels_M, start), before, step, float(gradient @ step))
        if point is before:
            break
    return AffineMap(point[:labels], point[labels:])


def _loss(log_p_ML: Doubles, labels_M: NDArray[np.int64], start: Doubles, point: Doubles) -> float:
    labels = log_p_ML.shape[1]
    log_q_ML = log_probabilities(log_p_ML * point[:labels] + point[labels:])
    offset = point - start
    return float(0.5 * offset @ offset - log_q_ML[np.arange(len(labels_M)), labels_M].sum())


def _gradient(log_p_ML: Doubles, q_ML: Doubles, labels_M: NDArray[np.int64]) -> Doubles:
    """Return the gradient of the log-loss by w and b: the sums of (q - y) log p and of q - y, y the one-hot label."""
    error_ML = q_ML.copy()
    error_ML[np.arange(len(labels_M)), labels_M] -= 1
    return np.concatenate([(error_ML * log_p_ML).sum(axis=0), error_ML.sum(axis=0)])


def _hessian(log_p_ML: Doubles, q_ML: Doubles) -> Doubles:
    """Return the Hessian of loss and prior: the sum of J' (diag(q) - q q') J over rows plus 1; J = [diag(log p), 1]."""
    both_MK = np.concatenate([log_p_ML * q_ML, q_ML], axis=1)
    ww, wb, bb = ((log_p_ML**power * q_ML).sum(axis=0) for power in (2, 1, 0))
    diagonals = np.block([[np.diag(ww), np.diag(wb)], [np.diag(wb), np.diag(bb)]])
    return np.asarray(diagonals - both_MK.T @ both_MK + np.eye(both_MK.shape[1]))


def _descend(loss: Callable[[Doubles], float], point: Doubles, step: Doubles, slope: float) -> Doubles:
    """Take Newton's step, halved until the loss falls enough for its slope (Armijo's condition)."""
    before, fraction = loss(point), 1.0
    while fraction > _SHORTEST and loss(point - fraction * step) > before - 1e-4 * fraction * slope:
        fraction /= 2
    return point if fraction <= _SHORTEST else point - fraction * step
