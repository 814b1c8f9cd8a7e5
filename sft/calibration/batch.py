"""Batch calibration: subtract the mean score of the evaluated rows.

Zhou et al. 2023, "Batch Calibration: Rethinking Calibration for In-Context Learning and Prompt Engineering",
arXiv 2309.17249. The mean is over rows of the split, never of a compute batch, so the batch size changes nothing.

Shapes: N rows, L labels, M labelled rows, G strengths.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sft.calibration.base import Calibrated, Evidence, Floats


def batch(evidence: Evidence) -> Calibrated:
    """Return the softmax of s minus the mean of s over the first `num_estimations` rows (all by default)."""
    scores_NL = np.asarray(evidence.scores_NL, dtype=np.float64)
    return Calibrated.of_scores(scores_NL - _mean(scores_NL, evidence.settings.num_estimations))


def adjustable_batch(evidence: Evidence) -> Calibrated:
    """Return the softmax of s minus gamma times that mean; gamma is the best strength on the labelled rows.

    Gamma is chosen once, on the labelled rows and their own mean, so it is the same for every evaluated split.

    Returns:
        The probabilities, and `gamma`.
    """
    gamma = best_gamma(*evidence.labelled, gammas(evidence.settings.gamma_range, evidence.settings.gamma_steps))
    scores_NL = np.asarray(evidence.scores_NL, dtype=np.float64)
    mean_L = _mean(scores_NL, evidence.settings.num_estimations)
    return Calibrated.of_scores(scores_NL - gamma * mean_L, {"gamma": gamma})


def gammas(ends: tuple[float, float], steps: int) -> NDArray[np.float64]:
    """Return the strengths to try, both ends included."""
    return np.linspace(*ends, steps)


def best_gamma(scores_ML: Floats, labels_M: NDArray[np.int64], gammas_G: Floats) -> float:
    """Return the strength with the best macro-F1 on labelled rows; among ties, the nearest to 1 (batch calibration).

    Args:
        scores_ML: scores of the labelled rows; their own mean is subtracted.
        labels_M: labels of the rows, as columns.
        gammas_G: strengths to choose from.
    """
    scores_ML = np.asarray(scores_ML, dtype=np.float64)
    mean_L = scores_ML.mean(axis=0)
    f1_G = [macro_f1((scores_ML - gamma * mean_L).argmax(axis=1), labels_M, len(mean_L)) for gamma in gammas_G]
    best = max(f1_G)
    tied = [float(gamma) for gamma, f1 in zip(gammas_G, f1_G, strict=True) if f1 >= best - 1e-12]
    return min(tied, key=lambda gamma: (abs(gamma - 1), gamma))


def macro_f1(predictions_M: NDArray[np.int64], labels_M: NDArray[np.int64], labels: int) -> float:
    """Return the mean F1 over all labels; the F1 of a label that neither appears nor is predicted is 0."""
    right_L = np.bincount(labels_M[predictions_M == labels_M], minlength=labels)
    both_L = np.bincount(labels_M, minlength=labels) + np.bincount(predictions_M, minlength=labels)
    return float(np.mean(2 * right_L / np.maximum(both_L, 1)))


def _mean(scores_NL: NDArray[np.float64], count: int | None) -> NDArray[np.float64]:
    """Return the mean of the first `count` rows; 0 without rows."""
    return scores_NL[:count].mean(axis=0) if len(scores_NL) else np.zeros(scores_NL.shape[1])
