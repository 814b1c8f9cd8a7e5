"""Softmax and related functions over the last axis, in float64. They do not overflow, however large the scores.

Shapes: L labels, P probes; any axes before them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def probabilities(scores_NL: Floats) -> NDArray[np.float64]:
    """Return the softmax over the labels; rows sum to 1. A score of minus infinity becomes 0."""
    scores = np.asarray(scores_NL, dtype=np.float64)
    if scores.size == 0:
        return scores
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def log_probabilities(scores_NL: Floats) -> NDArray[np.float64]:
    """Return the log-softmax over the labels: exact where `probabilities` would round to 0 or to 1."""
    scores = np.asarray(scores_NL, dtype=np.float64)
    if scores.size == 0:
        return scores
    shifted = scores - scores.max(axis=-1, keepdims=True)
    weights = np.exp(shifted)
    # The largest weight is 1 and is left out: next to it, a weight below 1e-16 would be lost.
    np.put_along_axis(weights, shifted.argmax(axis=-1)[..., None], 0.0, axis=-1)
    return np.asarray(shifted - np.log1p(weights.sum(axis=-1, keepdims=True)))


def logarithms(probabilities_NL: Floats) -> NDArray[np.float64]:
    """Return the logarithms of probabilities; minus infinity for 0."""
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probabilities_NL, dtype=np.float64))


def log_mean(logs_PL: Floats) -> NDArray[np.float64]:
    """Return the logarithm of the mean of exp(values), over the axis before the last."""
    logs = np.asarray(logs_PL, dtype=np.float64)
    highest = logs.max(axis=-2, keepdims=True)
    return np.asarray(np.log(np.exp(logs - highest).mean(axis=-2)) + highest[..., 0, :])
