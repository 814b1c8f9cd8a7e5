"""Calibrations of label probabilities by name, one file each; a user's own as `"module:function"`.

A calibration takes an `Evidence`, stored label scores as arrays, and gives normalised probabilities. It knows no model
and no files, so scores that were made once can be calibrated in any way later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sft.registry import Registry

if TYPE_CHECKING:
    from sft.calibration.base import Calibration

calibration_registry: Registry[Calibration] = Registry(
    "calibration",
    {
        "contextual": "sft.calibration.contextual:contextual",
        "domain": "sft.calibration.contextual:domain",
        "contextual_per_sample": "sft.calibration.contextual:contextual_per_sample",
        "domain_per_sample": "sft.calibration.contextual:domain_per_sample",
        "batch": "sft.calibration.batch:batch",
        "adjustable_batch": "sft.calibration.batch:adjustable_batch",
        "supervised": "sft.calibration.supervised:supervised",
    },
)
