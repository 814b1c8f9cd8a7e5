"""Calibrate by name: look the function up, call it, and check that it returns probabilities.

    python -c "
    from pathlib import Path; from safetensors.numpy import load_file
    from sft.calibration.apply import calibrate; from sft.calibration.stored import SplitScores
    scores = SplitScores(load_file('results/runs/…/label_scores.safetensors'))
    print(calibrate('batch', scores.evidence('sum')).probabilities_NL)"

Shapes: N rows, L labels.
"""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sft.calibration.base import Calibrated, Calibration, Evidence
from sft.errors import UserError
from sft.plugins import CALIBRATIONS


def calibrate(name: str, evidence: Evidence) -> Calibrated:
    """Return the calibrated probabilities [N, L]; each row sums to 1.

    Args:
        name: a name of the registry, or a user's own `"module:function"`.
        evidence: the scores.

    Raises:
        UserError: the name is unknown, scores that the calibration needs are missing, or a user's function does not
            return probabilities.
    """
    function: Calibration = CALIBRATIONS.resolve(name)
    try:
        returned = function(evidence)
    except UserError as error:
        raise UserError(f'calibration "{name}": {error}') from None
    returned = returned if isinstance(returned, Calibrated) else Calibrated(cast("NDArray[np.float64]", returned))
    normalise = _of_probabilities if returned.log_probabilities_NL is None else _of_logarithms
    normalised = normalise(name, returned, evidence.scores_NL.shape)
    try:
        json.dumps(dict(returned.fitted), allow_nan=False)  # fails here rather than when the result is written
    except (TypeError, ValueError) as error:
        raise UserError(f'calibration "{name}" returned fitted values that are not plain JSON: {error}') from None
    return normalised._replace(fitted=returned.fitted)


def _of_probabilities(name: str, returned: Calibrated, shape: tuple[int, ...]) -> Calibrated:
    """Return the probabilities, each row divided by its sum."""
    weights_NL = _array(name, returned.probabilities_NL, shape)
    sums_N1 = weights_NL.sum(axis=-1, keepdims=True)
    if not (np.isfinite(weights_NL).all() and (weights_NL >= 0).all() and (sums_N1 > 0).all()):
        raise UserError(f'calibration "{name}" returned values that are not probabilities')
    return Calibrated(weights_NL / sums_N1)


def _of_logarithms(name: str, returned: Calibrated, shape: tuple[int, ...]) -> Calibrated:
    """Return the probabilities from their logarithms: minus infinity stands for 0; a row may not be all 0."""
    logs_NL = _array(name, returned.log_probabilities_NL, shape)
    if np.isnan(logs_NL).any() or np.isposinf(logs_NL).any() or np.isneginf(logs_NL).all(axis=-1).any():
        raise UserError(f'calibration "{name}" returned values that are not logarithms of probabilities')
    return Calibrated.of_scores(logs_NL)


def _array(name: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    try:
        array_NL = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f'calibration "{name}" expected an array of numbers, got {type(value).__name__}') from None
    if array_NL.shape != shape:
        raise UserError(
            f'calibration "{name}" expected an array of shape {shape} (a probability for each label of each row), '
            f"got shape {array_NL.shape}"
        )
    return array_NL
