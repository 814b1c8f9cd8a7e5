"""Collate rows of token ids into batches of tensors. Does not know texts or tokenizers, only the padding id.

Legend: N rows of a batch, T tokens of its longest row or of a packed sequence, M target tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sft.training.parts import Part, Row, Splitter

IGNORED = -100  # the label that the loss ignores
Feature = Mapping[str, Any]


@dataclass(frozen=True)
class CompletionCollator:
    """Pad on the right. Padding is masked in attention and in the loss, so its id does not matter.

    Args:
        pad_id: any id of the vocabulary.
    """

    pad_id: int

    def __call__(self, features: Sequence[Feature]) -> dict[str, Tensor]:
        """Return `input_ids`, `labels` (-100 outside the answers) and `attention_mask`, each [N, T]."""
        ids = [torch.as_tensor(feature["input_ids"]) for feature in features]
        labels = [torch.as_tensor(feature["labels"]) for feature in features]
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_id),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        }


@dataclass(frozen=True)
class Masks:
    """Attention masks for packed rows.

    Args:
        dtype: dtype of the additive masks. Eager attention would silently misread a boolean mask, and other
            implementations would convert it again in every layer.
        windows: sliding window by type of layer; None: no window. With one type, `of` returns a single mask.
    """

    dtype: torch.dtype
    windows: tuple[tuple[str, int | None], ...] = (("full_attention", None),)

    def of(self, owner_T: Tensor, position_T: Tensor) -> Tensor | dict[str, Tensor]:
        """Return masks [1, 1, T, T]. Tokens attend to shared tokens (owner -1) and their row, up to their position."""
        ahead_TT = position_T[:, None] - position_T[None, :]
        visible_TT = ((owner_T[:, None] == owner_T[None, :]) | (owner_T[None, :] < 0)) & (ahead_TT >= 0)
        minimum = torch.finfo(self.dtype).min
        masks = {
            kind: torch.zeros(visible_TT.shape, dtype=self.dtype).masked_fill_(
                ~(visible_TT if window is None else visible_TT & (ahead_TT < window)), minimum
            )[None, None]
            for kind, window in self.windows
        }
        return masks if len(masks) > 1 else next(iter(masks.values()))


@dataclass(frozen=True)
class PartsCollator:
    """Split a batch into parts, one per forward pass.

    Args:
        splitter: chooses the parts.
        masks: attention masks for packed rows; None: rows are padded on the right.
        pad_id: any id of the vocabulary.
    """

    splitter: Splitter
    masks: Masks | None
    pad_id: int

    def __call__(self, features: Sequence[Feature]) -> dict[str, Any]:
        """Return `parts`, each with the model's arguments, `logits_to_keep`, and `targets` [M] in order of the logits.

        `shift_labels` and `labels` are all targets, for the trainer to count.
        """
        rows = [_row(feature) for feature in features]
        parts = [
            padded(rows, part, self.pad_id) if self.masks is None else packed(rows, part, self.masks)
            for part in self.splitter.split(rows)
        ]
        targets_M = torch.cat([part["targets"] for part in parts])
        return {"parts": parts, "labels": targets_M, "shift_labels": targets_M}


def packed(rows: Sequence[Row], part: Part, masks: Masks) -> dict[str, Any]:
    """Pack rows after their shared prefix into one sequence of T tokens, [1, T] each.

    `logits_to_keep` [M] are the indices of the tokens that predict the targets.
    """
    shared, chosen = part.shared, [rows[index] for index in part.rows]
    ids = list(chosen[0].ids[:shared])
    position, owner = list(range(shared)), [-1] * shared
    predictors: list[int] = []
    for number, row in enumerate(chosen):
        offset = len(ids) - shared  # from an index in the row to its index in the sequence
        predictors += range(offset + row.start - 1, offset + len(row.ids) - 1)
        ids += row.ids[shared:]
        position += range(shared, len(row.ids))
        owner += [number] * (len(row.ids) - shared)
    position_T = torch.tensor(position)
    return {
        "input_ids": torch.tensor(ids)[None],
        "position_ids": position_T[None],
        "attention_mask": masks.of(torch.tensor(owner), position_T),
        "logits_to_keep": torch.tensor(predictors),
        "targets": torch.cat([torch.tensor(row.ids[row.start :]) for row in chosen]),
    }


def padded(rows: Sequence[Row], part: Part, pad_id: int) -> dict[str, Any]:
    """Pad rows on the right, [N, T] each. `logits_to_keep` is True where the next token is a target."""
    chosen = [rows[index] for index in part.rows]
    longest = max(len(row.ids) for row in chosen)
    predictors_NT = torch.zeros(len(chosen), longest, dtype=torch.bool)
    for number, row in enumerate(chosen):
        predictors_NT[number, row.start - 1 : len(row.ids) - 1] = True
    ids = [torch.tensor(row.ids) for row in chosen]
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad_id),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        "logits_to_keep": predictors_NT,
        "targets": torch.cat([row_ids[row.start :] for row_ids, row in zip(ids, chosen, strict=True)]),
    }


def _row(feature: Feature) -> Row:
    """Convert a row of the data set. Its targets are the ids at the end whose label is not -100."""
    return Row(feature["input_ids"], sum(label == IGNORED for label in feature["labels"]))
