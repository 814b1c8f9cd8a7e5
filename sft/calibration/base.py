"""The protocol of a calibration: a function from stored label scores to probabilities, without model, files, config.

A user's own calibration, named in a config as `"module:function"`, takes the same `Evidence`. It returns the
probabilities [N, L] alone, or a `Calibrated` if it also reports fitted values. `Calibrated.of_scores` is the better
choice: it keeps the logarithms of probabilities that are too small for a float.

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
    """Settings of a calibration, from the config.

    Args:
        num_estimations: the mean of the scores is taken over this many first rows; None: all rows.
        gamma_range: the smallest and the largest strength to try.
        gamma_steps: number of strengths to try, evenly spaced, both ends included.
    """

    num_estimations: int | None = None
    gamma_range: tuple[float, float] = (-5.0, 5.0)
    gamma_steps: int = 50


@dataclass(frozen=True)
class Evidence:
    """Input of a calibration: label scores in nats, all of one kind; None for groups that were not scored.

    Args:
        scores_NL: scores of the rows.
        content_free_PL: scores of content-free inputs.
        domain_DL: scores of random words of the task's own texts.
        content_free_NPL: scores of content-free inputs after each row's own examples; [1, P, L] if all rows have the
            same examples.
        domain_NDL: scores of random words after each row's own examples; [1, D, L] likewise.
        train_ML: scores of labelled rows.
        train_labels_M: labels of the labelled rows, as columns of the scores.
        settings: from the config.
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
        """Return the scores of a field.

        Raises:
            UserError: these scores are missing.
        """
        scores: Floats | None = getattr(self, name)
        if scores is None or not scores.shape[-2]:
            raise UserError(f"scores of {_IN_WORDS[name]} are missing; request them with inference.calibration_args")
        return scores

    @property
    def labelled(self) -> tuple[Floats, NDArray[np.int64]]:
        """Scores [M, L] of labelled rows and their labels [M].

        Raises:
            UserError: labelled rows or their labels are missing.
        """
        scores_ML = self.needed("train_ML")
        if self.train_labels_M is None or len(self.train_labels_M) != len(scores_ML):
            raise UserError("expected one label for each labelled row")
        return scores_ML, self.train_labels_M


class Calibrated(NamedTuple):
    """Result of a calibration.

    Args:
        probabilities_NL: probabilities; each row sums to 1.
        fitted: estimated values to report, as plain JSON.
        log_probabilities_NL: logarithms of the probabilities, if known more exactly than from the rounded
            probabilities; else None.
    """

    probabilities_NL: NDArray[np.float64]
    fitted: Mapping[str, Any] = {}
    log_probabilities_NL: NDArray[np.float64] | None = None

    @classmethod
    def of_scores(cls, scores_NL: Floats, fitted: Mapping[str, Any] | None = None) -> Calibrated:
        """Return the softmax of scores [N, L] in nats, with its logarithms."""
        logs_NL = log_probabilities(scores_NL)
        return cls(probabilities(logs_NL), fitted or {}, logs_NL)

    @property
    def logs_NL(self) -> NDArray[np.float64]:
        """Logarithms of the probabilities, as exact as known."""
        known = self.log_probabilities_NL
        return logarithms(self.probabilities_NL) if known is None else known


class Calibration(Protocol):
    """A pure function from evidence to probabilities."""

    def __call__(self, evidence: Evidence, /) -> Calibrated | Floats: ...


_IN_WORDS = {
    "content_free_PL": "content-free inputs",
    "domain_DL": "random words of the domain",
    "content_free_NPL": "content-free inputs after each row's own examples",
    "domain_NDL": "random words after each row's own examples",
    "train_ML": "labelled rows",
}
