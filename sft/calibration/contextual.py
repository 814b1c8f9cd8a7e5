"""Contextual and domain-context calibration: divide by what the model says where there is nothing to judge.

Contextual: Zhao et al. 2021, "Calibrate Before Use: Improving Few-Shot Performance of Language Models", arXiv
2102.09690: with p the softmax of a row's scores and b the mean of p over content-free inputs ("N/A", "[MASK]", ""), q
is p / b normalised (their W = diag(b)^-1, bias 0).

Domain context: Fei et al. 2023, "Mitigating Label Biases for In-context Learning", arXiv 2305.19148: the same, with the
mean over inputs (20 in the paper) of words drawn from the unlabelled texts, as many as a text has on average.

Shapes: N rows, L labels, P probes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sft.calibration.arithmetic import log_mean, log_probabilities
from sft.calibration.base import Calibrated, Evidence, Floats


def contextual(evidence: Evidence) -> Calibrated:
    """One prior for all rows: the mean probability of each label over the content-free inputs."""
    return divided(evidence, "content_free_PL")


def contextual_per_sample(evidence: Evidence) -> Calibrated:
    """A prior for each row, from content-free inputs after that row's own in-context examples.

    Where all rows are shown the same examples it is `contextual`.
    """
    return divided(evidence, "content_free_NPL")


def divided(evidence: Evidence, probes: str) -> Calibrated:
    """The rows' probabilities divided by the prior that some probes give, and normalised.

    Args:
        evidence: holds the scores.
        probes: the name of the probes' scores in it, [P, L] or, for each row its own, [N, P, L].

    Returns:
        The probabilities; `prior`, one number for each label, where all rows share it.
    """
    prior = log_prior(evidence.needed(probes))
    shared = prior if prior.ndim == 1 else prior[0] if len(prior) == 1 else None
    fitted = {} if shared is None else {"prior": np.exp(shared).tolist()}
    return Calibrated.of_scores(log_probabilities(evidence.scores_NL) - prior, fitted)


def log_prior(scores_PL: Floats) -> NDArray[np.float64]:
    """The logarithm of the mean probability of each label over the probes: [L] of [P, L], [N, L] of [N, P, L]."""
    return log_mean(log_probabilities(scores_PL))


def domain(evidence: Evidence) -> Calibrated:
    """One prior for all rows: the mean probability of each label over the random texts."""
    return divided(evidence, "domain_DL")


def domain_per_sample(evidence: Evidence) -> Calibrated:
    """A prior for each row, from the random texts after that row's own in-context examples.

    Where all rows are shown the same examples it is `domain`.
    """
    return divided(evidence, "domain_NDL")
