"""Contextual and domain calibration against the papers' formulas, written plainly, label by label."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from sft.calibration.arithmetic import probabilities
from sft.calibration.base import Evidence
from sft.errors import UserError
from sft.plugins import CALIBRATIONS


def softmax(scores: list[float]) -> list[float]:
    weights = [math.exp(score - max(scores)) for score in scores]
    return [weight / sum(weights) for weight in weights]


def zhao(scores: list[float], probes: list[list[float]]) -> list[float]:
    """q is W p normalised, with W = diag(mean over the content-free inputs of p)^-1."""
    answers = [softmax(probe) for probe in probes]
    prior = [sum(answer[label] for answer in answers) / len(answers) for label in range(len(scores))]
    weights = [p / b for p, b in zip(softmax(scores), prior, strict=True)]
    return [weight / sum(weights) for weight in weights]


def calibrated(name: str, evidence: Evidence) -> np.ndarray:
    result = CALIBRATIONS.resolve(name)(evidence)
    assert isinstance(result, tuple)
    return result.probabilities_NL


@pytest.mark.parametrize(("name", "probes"), [("contextual", "content_free_PL"), ("domain", "domain_DL")])
def test_the_prior_of_all_rows_is_divided_out(evidence: Evidence, name: str, probes: str) -> None:
    shared = getattr(evidence, probes).tolist()
    expected = [zhao(row, shared) for row in evidence.scores_NL.tolist()]
    np.testing.assert_allclose(calibrated(name, evidence), expected, rtol=1e-9)


@pytest.mark.parametrize(("name", "probes"), [("contextual", "content_free_NPL"), ("domain", "domain_NDL")])
def test_each_row_may_have_a_prior_of_its_own(evidence: Evidence, name: str, probes: str) -> None:
    own = getattr(evidence, probes).tolist()
    expected = [zhao(row, row_probes) for row, row_probes in zip(evidence.scores_NL.tolist(), own, strict=True)]
    np.testing.assert_allclose(calibrated(f"{name}_per_sample", evidence), expected, rtol=1e-9)


def test_probes_that_all_rows_share_give_the_plain_form(evidence: Evidence) -> None:
    assert evidence.content_free_PL is not None
    assert evidence.domain_DL is not None
    shared = replace(evidence, content_free_NPL=evidence.content_free_PL[None], domain_NDL=evidence.domain_DL[None])
    for name in ("contextual", "domain"):
        np.testing.assert_allclose(calibrated(f"{name}_per_sample", shared), calibrated(name, shared), rtol=1e-12)


@pytest.mark.parametrize("name", ["contextual", "domain"])
def test_a_prior_without_preferences_changes_nothing(evidence: Evidence, name: str) -> None:
    flat = np.full((3, 4), -7.5)
    same = calibrated(name, replace(evidence, content_free_PL=flat, domain_DL=flat - 100))
    np.testing.assert_allclose(same, probabilities(evidence.scores_NL), rtol=1e-12)


def test_a_row_equal_to_a_probe_gets_equal_probabilities(evidence: Evidence) -> None:
    """Zhao et al.: the content-free input itself gets the same probability for each label."""
    assert evidence.content_free_PL is not None
    probe = evidence.content_free_PL[:1]
    result = calibrated("contextual", replace(evidence, scores_NL=probe, content_free_PL=probe))
    np.testing.assert_allclose(result, np.full((1, 4), 0.25), rtol=1e-9)


def test_the_mean_is_of_probabilities_not_of_scores(evidence: Evidence) -> None:
    probes = np.array([[0.0, -20.0, -20.0, -20.0], [-20.0, 0.0, -20.0, -20.0]])
    result = CALIBRATIONS.resolve("contextual")(replace(evidence, content_free_PL=probes))
    assert isinstance(result, tuple)
    np.testing.assert_allclose(result.fitted["prior"], [0.5, 0.5, 0, 0], atol=1e-8)


def test_priors_too_small_for_a_float_are_divided_out_too(evidence: Evidence) -> None:
    far = Evidence(np.array([[0.0, -1000.0]]), content_free_PL=np.array([[0.0, -999.0]]))
    np.testing.assert_allclose(calibrated("contextual", far), [[1 / (1 + math.exp(-1)), 1 / (1 + math.e)]], rtol=1e-9)


@pytest.mark.parametrize("name", list(CALIBRATIONS))
def test_missing_scores_are_named(evidence: Evidence, name: str) -> None:
    bare = Evidence(evidence.scores_NL)
    if name == "batch":
        CALIBRATIONS.resolve(name)(bare)
        return
    with pytest.raises(UserError, match=r"scores of .+ are missing; request them with inference.calibration_args"):
        CALIBRATIONS.resolve(name)(bare)
