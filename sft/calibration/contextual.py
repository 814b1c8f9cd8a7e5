"""Contextual and domain-context calibration: divide by what the model predicts for inputs without content.

Contextual: Zhao et al. 2021, "Calibrate Before Use: Improving Few-Shot Performance of Language Models", arXiv
2102.09690: p is the softmax of a row's scores, b the mean of p over content-free inputs ("N/A", "[MASK]", ""), and q is
p / b, normalised (their W = diag(b)^-1, bias 0).

Domain context: Fei et al. 2023, "Mitigating Label Biases for In-context Learning", arXiv 2305.19148: the same, but
b is the mean over inputs (20 in the paper) of random words of the unlabelled texts, each of the mean text length.

Shapes: N rows, L labels, P probes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sft.calibration.arithmetic import log_mean, log_probabilities
from sft.calibration.base import Calibrated, Evidence, Floats


def contextual(evidence: Evidence) -> Calibrated:
    """Calibrate all rows with one prior: the mean probability of each label over the content-free inputs."""
    return divided(evidence, "content_free_PL")


def contextual_per_sample(evidence: Evidence) -> Calibrated:
    """Calibrate each row with its own prior, from content-free inputs after the row's own in-context examples.

    The same as `contextual` if all rows have the same examples.
    """
    return divided(evidence, "content_free_NPL")


def divided(evidence: Evidence, probes: str) -> Calibrated:
    """Return the rows' probabilities divided by the prior of some probes, normalised.

    Args:
        evidence: the scores.
        probes: field of the probes' scores: [P, L], or [N, P, L] with probes for each row.

    Returns:
        The probabilities; `prior`, one number for each label, if all rows share it.
    """
    prior = log_prior(evidence.needed(probes))
    shared = prior if prior.ndim == 1 else prior[0] if len(prior) == 1 else None
    fitted = {} if shared is None else {"prior": np.exp(shared).tolist()}
    return Calibrated.of_scores(log_probabilities(evidence.scores_NL) - prior, fitted)


def log_prior(scores_PL: Floats) -> NDArray[np.float64]:
    """Return the log of the mean probability of each label over the probes: [L] of [P, L], [N, L] of [N, P, L]."""
    return log_mean(log_probabilities(scores_PL))


def domain(evidence: Evidence) -> Calibrated:
    """Calibrate all rows with one prior: the mean probability of each label over the random texts."""
    return divided(evidence, "domain_DL")


def domain_per_sample(evidence: Evidence) -> Calibrated:
    """Calibrate each row with its own prior, from the random texts after the row's own in-context examples.

    The same as `domain` if all rows have the same examples.
    """
    return divided(evidence, "domain_NDL")
