"""Softmax and its relatives, over the last axis, in float64: right whatever the size of the scores.

Shapes: L labels, P probes; any axes before them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def probabilities(scores_NL: Floats) -> NDArray[np.float64]:
    """Softmax over the labels: rows sum to 1. Scores that are minus infinity become 0."""
    scores = np.asarray(scores_NL, dtype=np.float64)
    if scores.size == 0:
        return scores
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def log_probabilities(scores_NL: Floats) -> NDArray[np.float64]:
    """Log-softmax over the labels: exact where `probabilities` would round to 0 or to 1."""
    scores = np.asarray(scores_NL, dtype=np.float64)
    if scores.size == 0:
        return scores
    shifted = scores - scores.max(axis=-1, keepdims=True)
    weights = np.exp(shifted)
    # without the largest, which is 1: beside it a weight below 1e-16 would be lost
    np.put_along_axis(weights, shifted.argmax(axis=-1)[..., None], 0.0, axis=-1)
    return np.asarray(shifted - np.log1p(weights.sum(axis=-1, keepdims=True)))


def logarithms(probabilities_NL: Floats) -> NDArray[np.float64]:
    """The logarithms of probabilities that are known as such: minus infinity for 0."""
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probabilities_NL, dtype=np.float64))


def log_mean(logs_PL: Floats) -> NDArray[np.float64]:
    """The logarithm of the mean over the axis before the last, of what the values are the logarithms of."""
    logs = np.asarray(logs_PL, dtype=np.float64)
    highest = logs.max(axis=-2, keepdims=True)
    return np.asarray(np.log(np.exp(logs - highest).mean(axis=-2)) + highest[..., 0, :])
