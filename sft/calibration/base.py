"""What a calibration is: a function from stored label scores to probabilities. Knows no model, no files, no configs.

A user's own, named in a config as `"module:function"`, takes the same `Evidence` and returns the probabilities [N, L]
alone, or `Calibrated` where it also has fitted values to report. `Calibrated.of_scores` is the better choice: it keeps
the logarithms of probabilities that are too small for a float.

Shapes: N rows to calibrate, L labels, P content-free probes, D probes of the domain, M labelled rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sft.calibration.arithmetic import log_probabilities, logarithms, probabilities
from sft.errors import UserError

Floats = NDArray[np.floating[Any]]


class Settings(NamedTuple):
    """What a calibration may be told.

    Args:
        num_estimations: rows that the mean of the scores is taken of, the first ones; None: all.
        gamma_range: the least and the largest strength that is tried.
        gamma_steps: how many strengths are tried, evenly spaced, both ends included.
    """

    num_estimations: int | None = None
    gamma_range: tuple[float, float] = (-5.0, 5.0)
    gamma_steps: int = 50


@dataclass(frozen=True)
class Evidence:
    """What a calibration may look at: label scores in nats, all of one kind; None for what was not scored.

    Args:
        scores_NL: of the rows.
        content_free_PL: of content-free inputs.
        domain_DL: of random words of the task's own texts.
        content_free_NPL: of content-free inputs after each row's own examples; [1, P, L] where all rows have the same.
        domain_NDL: of random words after each row's own examples; [1, D, L] where all rows have the same.
        train_ML: of labelled rows.
        train_labels_M: their labels, as columns of the scores.
        settings: what the config says.
    """

    scores_NL: Floats
    content_free_PL: Floats | None = None
    domain_DL: Floats | None = None
    content_free_NPL: Floats | None = None
    domain_NDL: Floats | None = None
    train_ML: Floats | None = None
    train_labels_M: NDArray[np.int64] | None = None
    settings: Settings = field(default_factory=Settings)

    def needed(self, name: str) -> Floats:
        """The scores of that name.

        Raises:
            UserError: they were not made.
        """
        scores: Floats | None = getattr(self, name)
        if scores is None or not scores.shape[-2]:
            raise UserError(f"there are no scores of {_IN_WORDS[name]} (inference.calibration_args has them made)")
        return scores

    @property
    def labelled(self) -> tuple[Floats, NDArray[np.int64]]:
        """Scores [M, L] of labelled rows and their labels [M].

        Raises:
            UserError: there are none.
        """
        scores_ML = self.needed("train_ML")
        if self.train_labels_M is None or len(self.train_labels_M) != len(scores_ML):
            raise UserError("the labelled rows have scores but no labels")
        return scores_ML, self.train_labels_M


class Calibrated(NamedTuple):
    """What a calibration returns.

    Args:
        probabilities_NL: their rows sum to 1.
        fitted: what was estimated on the way, as plain values.
        log_probabilities_NL: the logarithms of the probabilities, where these are known better than from their rounded
            values; None: not.
    """

    probabilities_NL: NDArray[np.float64]
    fitted: Mapping[str, Any] = {}
    log_probabilities_NL: NDArray[np.float64] | None = None

    @classmethod
    def of_scores(cls, scores_NL: Floats, fitted: Mapping[str, Any] | None = None) -> Calibrated:
        """Softmax of scores [N, L] in nats, with its logarithms."""
        logs_NL = log_probabilities(scores_NL)
        return cls(probabilities(logs_NL), fitted or {}, logs_NL)

    @property
    def logs_NL(self) -> NDArray[np.float64]:
        """The logarithms of the probabilities, by the best that is known of them."""
        known = self.log_probabilities_NL
        return logarithms(self.probabilities_NL) if known is None else known


class Calibration(Protocol):
    """A pure function of the evidence."""

    def __call__(self, evidence: Evidence, /) -> Calibrated | Floats: ...


_IN_WORDS = {
    "content_free_PL": "content-free inputs",
    "domain_DL": "random words of the domain",
    "content_free_NPL": "content-free inputs after each row's own examples",
    "domain_NDL": "random words after each row's own examples",
    "train_ML": "labelled rows",
}
