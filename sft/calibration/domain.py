"""Domain-context calibration: the prior is taken after random words of the task's own texts.

Fei et al. 2023, "Mitigating Label Biases for In-context Learning", arXiv 2305.19148: as contextual calibration, with
the mean over inputs (20 in the paper) of words drawn from the unlabelled texts, as many as a text has on average.
"""

from __future__ import annotations

from sft.calibration.base import Calibrated, Evidence
from sft.calibration.contextual import divided


def domain(evidence: Evidence) -> Calibrated:
    """One prior for all rows: the mean probability of each label over the random texts."""
    return divided(evidence, "domain_DL")


def domain_per_sample(evidence: Evidence) -> Calibrated:
    """A prior for each row, from the random texts after that row's own in-context examples.

    Where all rows are shown the same examples it is `domain`.
    """
    return divided(evidence, "domain_NDL")
