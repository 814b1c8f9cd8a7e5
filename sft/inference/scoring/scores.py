"""Label log-probabilities: the table that collects them, and the arithmetic on them.

Shapes: N rows, L labels, B rows and C labels of a batch, M pairs of row and label, T tokens of a label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sft.calibration.arithmetic import probabilities
from sft.calibration.kinds import Kind, Parts, label_scores

__all__ = ["LabelScores", "ScoreTable", "probabilities"]

_NAMES = {
    "sum_logprob": "sum_logprob_NL",
    "end_logprob": "end_logprob_NL",
    "first_logprob": "first_logprob_NL",
    "token_count": "token_count_L",
}
Ids = Sequence[int]


@dataclass(frozen=True)
class LabelScores:
    """A model's log-probabilities of every label after every prompt, in nats.

    Attributes:
        sum_logprob_NL: log p(label tokens and end of turn | prompt), float32.
        end_logprob_NL: the end-of-turn part of it.
        first_logprob_NL: log p(first token of the label | prompt).
        token_count_L: ids scored per label, the end of turn included, int64.
        fallback: the slower way that was used and why, if the model did not allow the fast one; else None. Not stored.
    """

    sum_logprob_NL: NDArray[np.float32]
    end_logprob_NL: NDArray[np.float32]
    first_logprob_NL: NDArray[np.float32]
    token_count_L: NDArray[np.int64]
    fallback: str | None = None

    def scores(self, kind: Kind) -> NDArray[np.float32]:
        """Return the label scores [N, L]: the summed log-probability, its mean per scored id, or the first token's.

        Raises:
            ValueError: unknown `kind`; for `pmi` see `sft.calibration.stored`, which has the content-free scores.
        """
        return label_scores(kind, Parts(self.sum_logprob_NL, self.first_logprob_NL, self.token_count_L))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, as in `label_scores.safetensors`."""
        return {name: np.ascontiguousarray(getattr(self, field)) for name, field in _NAMES.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> LabelScores:
        """Return the inverse of `tensors`; other names are ignored.

        Raises:
            KeyError: one of the four arrays is missing.
        """
        sum_NL, end_NL, first_NL, counts_L = (np.asarray(tensors[name]) for name in _NAMES)
        return cls(sum_NL, end_NL, first_NL, counts_L)


class ScoreTable:
    """Table of scores; a score not computed yet is NaN.

    Args:
        rows: number of prompts, N.
        labels: L lists of ids, each with its end of turn.
        end_tokens: number of ids at the end of each label that are the end of turn.
    """

    def __init__(self, rows: int, labels: Sequence[Ids], end_tokens: int) -> None:
        self._counts_L = np.array([len(label) for label in labels], dtype=np.int64)
        self._end_tokens = end_tokens
        self._sum_NL, self._end_NL, self._first_NL = (
            np.full((rows, len(labels)), np.nan, dtype=np.float32) for _ in range(3)
        )

    def put_block(self, rows_B: Sequence[int], labels_C: Sequence[int], logprobs_BCT: Tensor) -> None:
        """Store the tokens' log-probabilities of C labels after each of B rows.

        Values beyond a label's end are ignored.
        """
        self._put(np.ix_(rows_B, labels_C), self._counts_L[list(labels_C)][None, :], logprobs_BCT)

    def put_pairs(self, rows_M: Sequence[int], labels_M: Sequence[int], logprobs_MT: Tensor) -> None:
        """Store the tokens' log-probabilities of M pairs of a row and a label."""
        self._put((list(rows_M), list(labels_M)), self._counts_L[list(labels_M)], logprobs_MT)

    def _put(self, cells: Any, counts: NDArray[np.int64], logprobs: Tensor) -> None:
        values = logprobs.float().cpu().numpy().astype(np.float64)
        indices = np.arange(values.shape[-1])
        values = np.where(indices < counts[..., None], values, 0.0)
        self._sum_NL[cells] = values.sum(axis=-1)
        self._end_NL[cells] = np.where(indices >= counts[..., None] - self._end_tokens, values, 0.0).sum(axis=-1)
        self._first_NL[cells] = values[..., 0]

    def firsts(self, row: int) -> Tensor:
        """Return log p of the first token of every label after a row's prompt [L]."""
        return torch.from_numpy(self._first_NL[row])

    def whole(self, row: int, label: int) -> Tensor:
        """Return log p of all tokens of a label after a row's prompt."""
        return torch.tensor(self._sum_NL[row, label])

    def scores(self, fallback: str | None) -> LabelScores:
        """Return all scores; `fallback` names the slower way that was used, if any."""
        return LabelScores(self._sum_NL, self._end_NL, self._first_NL, self._counts_L, fallback)
