"""Label log-probabilities and the arithmetic on them. Knows no model and no files: scores are made once, then stored.

Shapes: N rows, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft.calibration.arithmetic import probabilities
from sft.calibration.kinds import Kind, Parts, label_scores

__all__ = ["LabelScores", "probabilities"]

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
        fallback: how they were made where the model did not allow the fast way, and why, else None. Not stored.
    """

    sum_logprob_NL: NDArray[np.float32]
    end_logprob_NL: NDArray[np.float32]
    first_logprob_NL: NDArray[np.float32]
    token_count_L: NDArray[np.int64]
    fallback: str | None = None

    def scores(self, kind: Kind) -> NDArray[np.float32]:
        """The label scores [N, L]: the summed log-probability, its mean per scored id, or the first token's.

        Raises:
            ValueError: another `kind`; for `pmi` see `sft.calibration.stored`, which has the content-free scores.
        """
        return label_scores(kind, Parts(self.sum_logprob_NL, self.first_logprob_NL, self.token_count_L))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Name -> array, as `label_scores.safetensors` holds them."""
        return {name: np.ascontiguousarray(getattr(self, field)) for name, field in _NAMES.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> LabelScores:
        """The inverse of `tensors`; other names are left alone.

        Raises:
            KeyError: one of the four arrays is not there.
        """
        sum_NL, end_NL, first_NL, counts_L = (np.asarray(tensors[name]) for name in _NAMES)
        return cls(sum_NL, end_NL, first_NL, counts_L)
