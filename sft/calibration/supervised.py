"""Supervised calibration: a per-class affine map of the label log-probabilities, learned from some labelled rows.

q = softmax(w * log p + b), one w and one b for each label (cf. "Supervised Calibration" of in-context learning,
arXiv 2505.23783, where each class has a scale of its own too, which may turn a bias round instead of only moving it).
w and b are the most probable ones with a standard normal prior around "nothing changes", w = 1 and b = 0: a few rows
move them little, many rows far. That is a convex problem with one solution; Newton's method finds it, and the same rows
give the same numbers.

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
_SMALL = 1e-10  # of the gradient: there is no better point near
_SHORTEST = 1e-12  # of a step, as part of Newton's

Doubles = NDArray[np.float64]


class AffineMap(NamedTuple):
    """One scale and one shift for each label."""

    scale_L: Doubles
    shift_L: Doubles

    def scores(self, scores_NL: Floats) -> Doubles:
        """The scores of rows under the map; their softmax is the calibrated probabilities."""
        return log_probabilities(scores_NL) * self.scale_L + self.shift_L

    def probabilities(self, scores_NL: Floats) -> Doubles:
        """Those of rows with these scores."""
        return probabilities(self.scores(scores_NL))


def supervised(evidence: Evidence) -> Calibrated:
    """The rows' probabilities under the map that the labelled rows teach.

    Returns:
        The probabilities; `scale` and `shift`, one number for each label.
    """
    found = fit(*evidence.labelled)
    fitted = {"scale": found.scale_L.tolist(), "shift": found.shift_L.tolist()}
    return Calibrated.of_scores(found.scores(evidence.scores_NL), fitted)


def fit(scores_ML: Floats, labels_M: NDArray[np.int64]) -> AffineMap:
    """The map that minimises the labels' summed log-loss in nats plus half of (w - 1)^2 + b^2.

    Args:
        scores_ML: label scores of the rows; what is added to a whole row changes nothing.
        labels_M: the right columns.
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
    away = point - start
    return float(0.5 * away @ away - log_q_ML[np.arange(len(labels_M)), labels_M].sum())


def _gradient(log_p_ML: Doubles, q_ML: Doubles, labels_M: NDArray[np.int64]) -> Doubles:
    """Of the log-loss, by w and b: with y the right label's indicator, the sums of (q - y) log p and of q - y."""
    error_ML = q_ML.copy()
    error_ML[np.arange(len(labels_M)), labels_M] -= 1
    return np.concatenate([(error_ML * log_p_ML).sum(axis=0), error_ML.sum(axis=0)])


def _hessian(log_p_ML: Doubles, q_ML: Doubles) -> Doubles:
    """Of loss and prior together: the sum over rows of J' (diag(q) - q q') J, with J = [diag(log p), 1], plus 1."""
    both_MK = np.concatenate([log_p_ML * q_ML, q_ML], axis=1)
    ww, wb, bb = ((log_p_ML**power * q_ML).sum(axis=0) for power in (2, 1, 0))
    diagonals = np.block([[np.diag(ww), np.diag(wb)], [np.diag(wb), np.diag(bb)]])
    return np.asarray(diagonals - both_MK.T @ both_MK + np.eye(both_MK.shape[1]))


def _descend(loss: Callable[[Doubles], float], point: Doubles, step: Doubles, slope: float) -> Doubles:
    """Newton's step, halved until the loss falls as far as its slope promises."""
    before, part = loss(point), 1.0
    while part > _SHORTEST and loss(point - part * step) > before - 1e-4 * part * slope:
        part /= 2
    return point if part <= _SHORTEST else point - part * step
