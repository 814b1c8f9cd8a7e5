"""Calibrate by name: look the function up, call it, and see that what it gives are probabilities.

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
    """The probabilities [N, L] under a calibration, their rows summing to 1.

    Args:
        name: of the registry, or a user's own `"module:function"`.
        evidence: the scores.

    Raises:
        UserError: an unknown name, scores that the calibration needs and that were not made, or a user's function that
            gives something else than probabilities.
    """
    function: Calibration = CALIBRATIONS.resolve(name)
    try:
        found = function(evidence)
    except UserError as error:
        raise UserError(f'calibration "{name}": {error}') from None
    found = found if isinstance(found, Calibrated) else Calibrated(cast("NDArray[np.float64]", found))
    normalised = _of_probabilities if found.log_probabilities_NL is None else _of_logarithms
    made = normalised(name, found, evidence.scores_NL.shape)
    try:
        json.dumps(dict(found.fitted), allow_nan=False)
    except (TypeError, ValueError) as error:  # now, not when the result is written
        raise UserError(f'calibration "{name}" tells of something that is no plain value: {error}') from None
    return made._replace(fitted=found.fitted)


def _of_probabilities(name: str, found: Calibrated, shape: tuple[int, ...]) -> Calibrated:
    """The probabilities, each row divided by its sum."""
    weights_NL = _array(name, found.probabilities_NL, shape)
    sums_N1 = weights_NL.sum(axis=-1, keepdims=True)
    if not (np.isfinite(weights_NL).all() and (weights_NL >= 0).all() and (sums_N1 > 0).all()):
        raise UserError(f'calibration "{name}" gave numbers that are no probabilities')
    return Calibrated(weights_NL / sums_N1)


def _of_logarithms(name: str, found: Calibrated, shape: tuple[int, ...]) -> Calibrated:
    """The same by their logarithms: minus infinity stands for 0, of which a row may not consist."""
    logs_NL = _array(name, found.log_probabilities_NL, shape)
    if np.isnan(logs_NL).any() or np.isposinf(logs_NL).any() or np.isneginf(logs_NL).all(axis=-1).any():
        raise UserError(f'calibration "{name}" gave numbers that are no logarithms of probabilities')
    return Calibrated.of_scores(logs_NL)


def _array(name: str, given: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    try:
        array_NL = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f'calibration "{name}" gave {type(given).__name__}, no array of numbers') from None
    if array_NL.shape != shape:
        raise UserError(
            f'calibration "{name}" gave an array of {array_NL.shape}, not {shape}: '
            "a probability for each label of each row"
        )
    return array_NL
