"""Calibrations by name: all return probabilities, a user's own too; other results are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sft.calibration.apply import calibrate
from sft.calibration.base import Evidence
from sft.errors import UserError
from sft.plugins import CALIBRATIONS

OWN = """
import numpy as np
from sft.calibration.base import Calibrated

def thirds(evidence):
    return np.full(evidence.scores_NL.shape, 3.0)

def words(evidence):
    return "none"

def short(evidence):
    return evidence.scores_NL[1:]

def negative(evidence):
    return evidence.scores_NL

def nothing(evidence):
    return np.zeros(evidence.scores_NL.shape)

def odd(evidence):
    return Calibrated(np.ones(evidence.scores_NL.shape), {"mean": evidence.scores_NL.mean(axis=0)})

def learns(evidence):
    scores, labels = evidence.labelled
    return np.tile(np.bincount(labels, minlength=scores.shape[1]), (len(evidence.scores_NL), 1))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_calibrations.py").write_text(OWN, encoding="utf-8")


@pytest.mark.parametrize("name", list(CALIBRATIONS))
def test_all_return_normalised_probabilities_and_leave_the_scores_unchanged(evidence: Evidence, name: str) -> None:
    before = evidence.scores_NL.copy()
    result = calibrate(name, evidence).probabilities_NL
    assert result.shape == (40, 4)
    assert (result >= 0).all()
    np.testing.assert_allclose(result.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(evidence.scores_NL, before)


@pytest.mark.usefixtures("own")
def test_a_users_own_calibration(evidence: Evidence) -> None:
    np.testing.assert_allclose(calibrate("own_calibrations:thirds", evidence).probabilities_NL, 0.25)
    shares = np.bincount(np.arange(30) % 4) / 30
    np.testing.assert_allclose(calibrate("own_calibrations:learns", evidence).probabilities_NL[5], shares)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("words", "expected an array of numbers, got str"),
        ("short", r"expected an array of shape \(40, 4\) .*, got shape \(39, 4\)"),
        ("negative", "returned values that are not probabilities"),
        ("nothing", "returned values that are not probabilities"),
        ("odd", "returned fitted values that are not plain JSON"),
    ],
)
def test_a_result_that_is_not_probabilities_is_refused(evidence: Evidence, name: str, what: str) -> None:
    with pytest.raises(UserError, match=f'calibration "own_calibrations:{name}" {what}'):
        calibrate(f"own_calibrations:{name}", evidence)


@pytest.mark.usefixtures("own")
def test_errors_name_the_calibration(evidence: Evidence) -> None:
    bare = Evidence(evidence.scores_NL)
    with pytest.raises(UserError, match='calibration "supervised": scores of labelled rows are missing'):
        calibrate("supervised", bare)
    with pytest.raises(UserError, match='calibration "own_calibrations:learns": scores of labelled rows are missing'):
        calibrate("own_calibrations:learns", bare)
    with pytest.raises(UserError, match="unknown calibration"):
        calibrate("bach", evidence)
