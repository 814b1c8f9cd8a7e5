"""Calibrations keep logarithms, so that probabilities too small for a float are not lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sft.calibration.apply import calibrate
from sft.calibration.arithmetic import log_probabilities, probabilities
from sft.calibration.base import Evidence
from sft.errors import UserError
from sft.plugins import CALIBRATIONS

OWN = """
import numpy as np
from sft.calibration.base import Calibrated

def hard(evidence):
    return np.eye(evidence.scores_NL.shape[1])[evidence.scores_NL.argmax(axis=1)]

def halved(evidence):
    return Calibrated.of_scores(evidence.scores_NL / 2, {"by": 2})

def unnormalised(evidence):
    return Calibrated(np.ones(evidence.scores_NL.shape), {}, evidence.scores_NL)

def no_logarithms(evidence):
    return Calibrated(np.ones(evidence.scores_NL.shape), {}, np.full(evidence.scores_NL.shape, -np.inf))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_logarithms.py").write_text(OWN, encoding="utf-8")


def stretched(evidence: Evidence, by: float) -> Evidence:
    """Scores that are further apart: what a confident model gives to long labels."""
    names = ("scores_NL", "content_free_PL", "domain_DL", "content_free_NPL", "domain_NDL", "train_ML")
    return replace(evidence, **{name: getattr(evidence, name) * by for name in names})


@pytest.mark.parametrize("by", [1, 1000])
@pytest.mark.parametrize("name", list(CALIBRATIONS))
def test_all_keep_the_logarithms_of_what_underflows(evidence: Evidence, name: str, by: float) -> None:
    result = calibrate(name, stretched(evidence, by))
    assert np.isfinite(result.logs_NL).all()
    np.testing.assert_allclose(np.exp(result.logs_NL), result.probabilities_NL, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(np.exp(result.logs_NL).sum(axis=1), 1, rtol=1e-12)
    if by == 1000 and name in ("contextual", "domain", "batch"):
        assert (result.probabilities_NL == 0).any()  # else this test tests nothing


def test_the_prior_is_divided_by_in_log_space(evidence: Evidence) -> None:
    """q = p / mean p, by logarithms throughout, where p and the prior are both 0 as floats."""
    far = np.array([[0.0, -2000.0, -4000.0]])
    result = calibrate("contextual", Evidence(far, content_free_PL=far + np.array([0.0, -1.0, 2.0])))
    expected = log_probabilities(np.array([[0.0, 1.0, -2.0]]))
    np.testing.assert_allclose(result.logs_NL, expected, rtol=1e-12)


@pytest.mark.usefixtures("own")
def test_a_users_own_calibration_may_return_logarithms(evidence: Evidence) -> None:
    far = stretched(evidence, 100)
    hard = calibrate("own_logarithms:hard", far)
    assert set(np.unique(hard.probabilities_NL)) == {0, 1}
    assert np.isneginf(hard.logs_NL).sum() == 3 * len(far.scores_NL)
    halved = calibrate("own_logarithms:halved", far)
    assert halved.fitted == {"by": 2}
    np.testing.assert_allclose(halved.logs_NL, log_probabilities(far.scores_NL / 2), rtol=1e-12)
    unnormalised = calibrate("own_logarithms:unnormalised", far)
    np.testing.assert_allclose(unnormalised.probabilities_NL, probabilities(far.scores_NL), rtol=1e-12)
    with pytest.raises(UserError, match="returned values that are not logarithms of probabilities"):
        calibrate("own_logarithms:no_logarithms", far)
