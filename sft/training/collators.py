"""Rows of ids to padded batches. Knows nothing of texts or tokenizers: it is given the id to pad with.

Legend: N rows of a batch, T tokens of its longest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

IGNORED = -100  # the label that the loss leaves out


@dataclass(frozen=True)
class CompletionCollator:
    """Pads on the right; the padding is masked in attention and in the loss, so its id does not matter.

    Args:
        pad_id: any id of the vocabulary.
    """

    pad_id: int

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """`input_ids`, `labels` (-100 outside the answers) and `attention_mask`, each [N, T]."""
        ids = [torch.as_tensor(feature["input_ids"]) for feature in features]
        labels = [torch.as_tensor(feature["labels"]) for feature in features]
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_id),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        }
