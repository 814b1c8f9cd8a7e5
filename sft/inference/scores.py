"""Label log-probabilities and the arithmetic on them. Knows no model and no files: scores are made once, then stored.

Shapes: N rows, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["sum", "mean", "first"]
Floats = NDArray[np.floating[Any]]

_NAMES = {
    "sum_logprob": "sum_logprob_NL",
    "end_logprob": "end_logprob_NL",
    "first_logprob": "first_logprob_NL",
    "token_count": "token_count_L",
}


@dataclass(frozen=True)
class LabelScores:
    """What a model says of every label after every prompt, in nats.

    Attributes:
        sum_logprob_NL: log p(label tokens and end of turn | prompt), float32.
        end_logprob_NL: the end-of-turn part of it alone.
        first_logprob_NL: log p(first token of the label | prompt).
        token_count_L: ids scored per label, the end of turn included, int64.
    """

    sum_logprob_NL: NDArray[np.float32]
    end_logprob_NL: NDArray[np.float32]
    first_logprob_NL: NDArray[np.float32]
    token_count_L: NDArray[np.int64]

    def scores(self, kind: Kind) -> NDArray[np.float32]:
        """The label scores [N, L]: the summed log-probability, its mean per scored id, or the first token's.

        Raises:
            ValueError: another `kind`.
        """
        if kind == "sum":
            return self.sum_logprob_NL
        if kind == "mean":
            return (self.sum_logprob_NL / self.token_count_L).astype(np.float32)
        if kind == "first":
            return self.first_logprob_NL
        raise ValueError(f'label scores are "sum", "mean" or "first", not "{kind}"')

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Name -> array, as `label_scores.safetensors` holds them."""
        return {name: np.ascontiguousarray(getattr(self, field)) for name, field in _NAMES.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> LabelScores:
        """The inverse of `tensors`; other names are left alone.

        Raises:
            KeyError: one of the four arrays is not there.
        """
        return cls(**{field: np.asarray(tensors[name]) for name, field in _NAMES.items()})


def probabilities(scores_NL: Floats) -> NDArray[np.float64]:
    """Softmax over the labels, in float64: rows sum to 1 whatever the size of the scores."""
    scores = np.asarray(scores_NL, dtype=np.float64)
    if scores.size == 0:
        return scores
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))
