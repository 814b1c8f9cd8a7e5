"""Temperature scaling: one number for all rows and labels, fitted on labelled rows.

Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599: q = softmax(s / T); T
minimises the log-loss of the labels. The order of the labels and all predictions stay; only the confidence changes.

The log-loss is convex in 1 / T, so it has one minimum between the bounds. scipy's bounded search finds it.

Shapes: L labels, M labelled rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sft.calibration.arithmetic import log_probabilities
from sft.calibration.base import Calibrated, Evidence, Floats

# If every labelled row is right (or wrong), the log-loss keeps falling as T goes to 0 (or to infinity).
BOUNDS = (0.01, 100.0)


def temperature(evidence: Evidence) -> Calibrated:
    """Return the softmax of the scores divided by the best temperature on the labelled rows.

    Returns:
        The probabilities, and `temperature`.
    """
    best = best_temperature(*evidence.labelled)
    return Calibrated.of_scores(log_probabilities(evidence.scores_NL) / best, {"temperature": best})


def best_temperature(scores_ML: Floats, labels_M: NDArray[np.int64]) -> float:
    """Return the temperature within `BOUNDS` with the lowest log-loss on labelled rows; 1 if none is lower.

    Args:
        scores_ML: label scores of the rows; adding a constant to a row changes nothing.
        labels_M: labels of the rows, as columns.
    """
    from scipy.optimize import minimize_scalar

    log_p_ML = log_probabilities(scores_ML)
    # A label of probability 0 has an infinite loss at every temperature.
    possible_M = np.isfinite(log_p_ML[np.arange(len(labels_M)), labels_M])
    log_p_ML, labels_M = log_p_ML[possible_M], labels_M[possible_M]

    def loss(log_temperature: float) -> float:
        log_q_ML = log_probabilities(log_p_ML / np.exp(log_temperature))
        return -float(log_q_ML[np.arange(len(labels_M)), labels_M].sum())

    log_best = float(minimize_scalar(loss, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-8}).x)
    return float(np.exp(log_best)) if loss(log_best) < loss(0.0) - 1e-12 else 1.0
