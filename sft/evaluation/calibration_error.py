"""The expected calibration error: how far a classifier's confidence is from its accuracy.

Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599; the norms as in Kumar et al. 2019,
"Verified Uncertainty Calibration", arXiv 1909.10155. Shapes: N rows.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Norm = Literal["l1", "l2", "max"]


def bin_indices_of(confidences_N: NDArray[np.floating], bins: int) -> NDArray[np.intp]:
    """Return the bin of each row, from 0: bin m of M for a confidence in (m / M, (m + 1) / M]; 0 is in the first."""
    return np.digitize(confidences_N, np.arange(1, bins) / bins, right=True)


def calibration_error(confidences_N: ArrayLike, correct_N: ArrayLike, bins: int = 15, norm: Norm = "l1") -> float:
    """Return the distance between accuracy and mean confidence over bins of equal width, in 0..1.

    Empty bins do not count.

    Args:
        confidences_N: probability of the predicted label, in 0..1.
        correct_N: whether the prediction is right.
        bins: number of bins.
        norm: `l1`, the mean of the distances weighted by the rows in a bin (the usual ECE); `l2`, the root of the
            weighted mean of the squared distances; `max`, the largest distance (the MCE).

    Raises:
        ValueError: no rows, or an unknown norm.
    """
    confidences = np.asarray(confidences_N, dtype=np.float64)
    correct = np.asarray(correct_N, dtype=np.float64)
    if confidences.size == 0:
        raise ValueError("the calibration error is not defined for no rows")
    counts, distances = _bin_distances(confidences, correct, bins)
    weights = counts / confidences.size
    if norm == "l1":
        return float(np.sum(weights * distances))
    if norm == "l2":
        return float(np.sqrt(np.sum(weights * distances**2)))
    if norm == "max":
        return float(np.max(distances))
    raise ValueError(f'norm: expected "l1", "l2" or "max", got "{norm}"')


def _bin_distances(
    confidences: NDArray[np.float64], correct: NDArray[np.float64], bins: int
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the number of rows and |accuracy - mean confidence| of the bins that are not empty."""
    bin_indices = bin_indices_of(confidences, bins)
    counts = np.bincount(bin_indices, minlength=bins)
    filled = counts > 0
    sums = np.bincount(bin_indices, weights=correct - confidences, minlength=bins)
    return counts[filled], np.abs(sums[filled]) / counts[filled]
