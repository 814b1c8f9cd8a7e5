"""Temperature scaling: one number for all rows and labels, learned from some labelled rows.

Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599: q = softmax(s / T), with the T that
minimises the labels' log-loss. The order of the labels stays, and so does every prediction: only confidence changes.

The log-loss is convex in 1 / T, so it has one minimum between the bounds, which scipy's bounded search finds.

Shapes: L labels, M labelled rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sft.calibration.arithmetic import log_probabilities
from sft.calibration.base import Calibrated, Evidence, Floats

# Where every labelled row is right (or wrong) the log-loss falls without end as T goes to 0 (or to infinity).
BOUNDS = (0.01, 100.0)


def temperature(evidence: Evidence) -> Calibrated:
    """Softmax of the scores divided by the temperature that suits the labelled rows best.

    Returns:
        The probabilities, and `temperature`.
    """
    found = best_temperature(*evidence.labelled)
    return Calibrated.of_scores(log_probabilities(evidence.scores_NL) / found, {"temperature": found})


def best_temperature(scores_ML: Floats, labels_M: NDArray[np.int64]) -> float:
    """Return the temperature within `BOUNDS` with the lowest log-loss on labelled rows; 1 where nothing is lower.

    Args:
        scores_ML: label scores of the rows; what is added to a whole row changes nothing.
        labels_M: their labels, as columns.
    """
    from scipy.optimize import minimize_scalar

    log_p_ML = log_probabilities(scores_ML)
    # a label of probability 0 has an infinite loss at every temperature
    possible_M = np.isfinite(log_p_ML[np.arange(len(labels_M)), labels_M])
    log_p_ML, labels_M = log_p_ML[possible_M], labels_M[possible_M]

    def loss(log_temperature: float) -> float:
        log_q_ML = log_probabilities(log_p_ML / np.exp(log_temperature))
        return -float(log_q_ML[np.arange(len(labels_M)), labels_M].sum())

    found = float(minimize_scalar(loss, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-8}).x)
    return float(np.exp(found)) if loss(found) < loss(0.0) - 1e-12 else 1.0
