"""Random scores to calibrate: rows, probes and labelled rows of a model that prefers its first label."""

from __future__ import annotations

import numpy as np
import pytest

from sft.calibration.base import Evidence


@pytest.fixture
def evidence() -> Evidence:
    """Return forty rows of four labels, three and five probes (shared, and for each row) and thirty labelled rows."""
    source = np.random.default_rng(7)
    bias_L = np.array([3.0, 0.0, -1.0, -4.0])

    def scores(*shape: int) -> np.ndarray:
        return (source.normal(-12, 2, (*shape, 4)) + bias_L).astype(np.float32)

    labels_M = np.arange(30) % 4
    train_ML = scores(30)
    train_ML[np.arange(30), labels_M] += 3
    return Evidence(
        scores_NL=scores(40),
        content_free_PL=scores(3),
        domain_DL=scores(5),
        content_free_NPL=scores(40, 3),
        domain_NDL=scores(40, 5),
        train_ML=train_ML,
        train_labels_M=labels_M,
    )
