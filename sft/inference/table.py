"""Where scores go: one cell for each row and label, in the caller's order.

Shapes: N rows, L labels, B rows and C labels of a batch, M pairs of row and label, T tokens of a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sft.inference.scores import LabelScores

Ids = Sequence[int]


class ScoreTable:
    """The scores so far; what was not scored is NaN.

    Args:
        rows: N.
        labels: L lists of ids, each with its end of turn.
        end_tokens: how many ids at the end of each label are the end of turn.
    """

    def __init__(self, rows: int, labels: Sequence[Ids], end_tokens: int) -> None:
        self._counts_L = np.array([len(label) for label in labels], dtype=np.int64)
        self._end_tokens = end_tokens
        self._sum_NL, self._end_NL, self._first_NL = (
            np.full((rows, len(labels)), np.nan, dtype=np.float32) for _ in range(3)
        )

    def put_block(self, rows_B: Sequence[int], labels_C: Sequence[int], logprobs_BCT: Tensor) -> None:
        """Store the tokens' log-probabilities of C labels after each of B rows.

        What lies beyond a label's end does not count.
        """
        self._put(np.ix_(rows_B, labels_C), self._counts_L[list(labels_C)][None, :], logprobs_BCT)

    def put_pairs(self, rows_M: Sequence[int], labels_M: Sequence[int], logprobs_MT: Tensor) -> None:
        """The same for M pairs of a row and a label."""
        self._put((list(rows_M), list(labels_M)), self._counts_L[list(labels_M)], logprobs_MT)

    def _put(self, cells: Any, counts: NDArray[np.int64], logprobs: Tensor) -> None:
        values = logprobs.float().cpu().numpy().astype(np.float64)
        places = np.arange(values.shape[-1])
        values = np.where(places < counts[..., None], values, 0.0)
        self._sum_NL[cells] = values.sum(axis=-1)
        self._end_NL[cells] = np.where(places >= counts[..., None] - self._end_tokens, values, 0.0).sum(axis=-1)
        self._first_NL[cells] = values[..., 0]

    def firsts(self, row: int) -> Tensor:
        """log p of the first token of every label after a row's prompt [L]."""
        return torch.from_numpy(self._first_NL[row])

    def whole(self, row: int, label: int) -> Tensor:
        """log p of all tokens of a label after a row's prompt."""
        return torch.tensor(self._sum_NL[row, label])

    def scores(self, fallback: str | None) -> LabelScores:
        """All of them, and how they were made."""
        return LabelScores(self._sum_NL, self._end_NL, self._first_NL, self._counts_L, fallback)
