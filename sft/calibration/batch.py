"""Batch calibration: take off what the scores of the judged rows are on average.

Zhou et al. 2023, "Batch Calibration: Rethinking Calibration for In-Context Learning and Prompt Engineering",
arXiv 2309.17249. The rows are those of the split, never of a compute batch: nothing follows from how they were run.

Shapes: N rows, L labels, M labelled rows, G strengths.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sft.calibration.base import Calibrated, Evidence, Floats


def batch(evidence: Evidence) -> Calibrated:
    """Softmax of s minus the mean of s over the first `num_estimations` rows (all by default)."""
    scores_NL = np.asarray(evidence.scores_NL, dtype=np.float64)
    return Calibrated.of_scores(scores_NL - _mean(scores_NL, evidence.settings.num_estimations))


def adjustable_batch(evidence: Evidence) -> Calibrated:
    """Softmax of s minus gamma times that mean; gamma is the strength that suits some labelled rows best.

    It is chosen once, on the labelled rows and their own mean: so it is the same for every split that is judged.

    Returns:
        The probabilities, and `gamma`.
    """
    gamma = best_gamma(*evidence.labelled, gammas(evidence.settings.gamma_range, evidence.settings.gamma_steps))
    scores_NL = np.asarray(evidence.scores_NL, dtype=np.float64)
    mean_L = _mean(scores_NL, evidence.settings.num_estimations)
    return Calibrated.of_scores(scores_NL - gamma * mean_L, {"gamma": gamma})


def gammas(ends: tuple[float, float], steps: int) -> NDArray[np.float64]:
    """The strengths that are tried, both ends included."""
    return np.linspace(*ends, steps)


def best_gamma(scores_ML: Floats, labels_M: NDArray[np.int64], gammas_G: Floats) -> float:
    """The strength with the best macro-F1 on labelled rows; of equal ones that nearest to 1, plain batch calibration.

    Args:
        scores_ML: of the labelled rows; what is taken off is their own mean.
        labels_M: their labels, as columns.
        gammas_G: the strengths to choose from.
    """
    scores_ML = np.asarray(scores_ML, dtype=np.float64)
    mean_L = scores_ML.mean(axis=0)
    found = [macro_f1((scores_ML - gamma * mean_L).argmax(axis=1), labels_M, len(mean_L)) for gamma in gammas_G]
    best = max(found)
    equal = [float(gamma) for gamma, f1 in zip(gammas_G, found, strict=True) if f1 >= best - 1e-12]
    return min(equal, key=lambda gamma: (abs(gamma - 1), gamma))


def macro_f1(guesses_M: NDArray[np.int64], labels_M: NDArray[np.int64], labels: int) -> float:
    """The mean of F1 over all labels; 0 for one that is neither met nor guessed."""
    right_L = np.bincount(labels_M[guesses_M == labels_M], minlength=labels)
    both_L = np.bincount(labels_M, minlength=labels) + np.bincount(guesses_M, minlength=labels)
    return float(np.mean(2 * right_L / np.maximum(both_L, 1)))


def _mean(scores_NL: NDArray[np.float64], count: int | None) -> NDArray[np.float64]:
    """The mean of the first `count` rows; 0 where there is no row."""
    return scores_NL[:count].mean(axis=0) if len(scores_NL) else np.zeros(scores_NL.shape[1])
