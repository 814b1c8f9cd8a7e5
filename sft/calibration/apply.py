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

import numpy as np

from sft.calibration import calibration_registry
from sft.calibration.base import Calibrated, Evidence
from sft.errors import UserError


def calibrate(name: str, evidence: Evidence) -> Calibrated:
    """The probabilities [N, L] under a calibration, their rows summing to 1.

    Args:
        name: of the registry, or a user's own `"module:function"`.
        evidence: the scores.

    Raises:
        UserError: an unknown name, scores that the calibration needs and that were not made, or a user's function that
            gives something else than probabilities.
    """
    function = calibration_registry.resolve(name)
    try:
        found = function(evidence)
    except UserError as error:
        raise UserError(f'calibration "{name}": {error}') from None
    given, fitted = found if isinstance(found, Calibrated) else (found, {})
    try:
        weights_NL = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f'calibration "{name}" gave {type(given).__name__}, no array of numbers') from None
    if weights_NL.shape != evidence.scores_NL.shape:
        raise UserError(
            f'calibration "{name}" gave an array of {weights_NL.shape}, not {evidence.scores_NL.shape}: '
            "a probability for each label of each row"
        )
    sums_N1 = weights_NL.sum(axis=-1, keepdims=True)
    if not (np.isfinite(weights_NL).all() and (weights_NL >= 0).all() and (sums_N1 > 0).all()):
        raise UserError(f'calibration "{name}" gave numbers that are no probabilities')
    try:
        json.dumps(dict(fitted), allow_nan=False)
    except (TypeError, ValueError) as error:  # now, not when the result is written
        raise UserError(f'calibration "{name}" tells of something that is no plain value: {error}') from None
    return Calibrated(weights_NL / sums_N1, fitted)
