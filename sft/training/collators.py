"""Rows of ids to batches of tensors. Knows nothing of texts or tokenizers: it is given the id to pad with.

Legend: N rows of a batch, T tokens of its longest row or of a packed sequence, M tokens that are learnt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sft.training.parts import Part, Row, Splitter

IGNORED = -100  # the label that the loss leaves out
Feature = Mapping[str, Any]


@dataclass(frozen=True)
class CompletionCollator:
    """Pads on the right; the padding is masked in attention and in the loss, so its id does not matter.

    Args:
        pad_id: any id of the vocabulary.
    """

    pad_id: int

    def __call__(self, features: Sequence[Feature]) -> dict[str, Tensor]:
        """`input_ids`, `labels` (-100 outside the answers) and `attention_mask`, each [N, T]."""
        ids = [torch.as_tensor(feature["input_ids"]) for feature in features]
        labels = [torch.as_tensor(feature["labels"]) for feature in features]
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_id),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        }


@dataclass(frozen=True)
class Masks:
    """The masks of who sees whom that a model takes.

    Args:
        dtype: of the numbers that are added to the scores of attention. A boolean mask would be silently wrong in eager
            attention, and is made anew in every layer elsewhere.
        windows: sliding window by type of layer; None: no window. With one type the mask is given alone.
    """

    dtype: torch.dtype
    windows: tuple[tuple[str, int | None], ...] = (("full_attention", None),)

    def of(self, owner_T: Tensor, position_T: Tensor) -> Tensor | dict[str, Tensor]:
        """[1, 1, T, T] each: tokens see what is nobody's (owner -1) and their owner's, up to their own position."""
        ahead_TT = position_T[:, None] - position_T[None, :]
        sees_TT = ((owner_T[:, None] == owner_T[None, :]) | (owner_T[None, :] < 0)) & (ahead_TT >= 0)
        shut = torch.finfo(self.dtype).min
        masks = {
            kind: torch.zeros(sees_TT.shape, dtype=self.dtype).masked_fill_(
                ~(sees_TT if window is None else sees_TT & (ahead_TT < window)), shut
            )[None, None]
            for kind, window in self.windows
        }
        return masks if len(masks) > 1 else next(iter(masks.values()))


@dataclass(frozen=True)
class PartsCollator:
    """Splits a batch into parts, each what the model takes at once.

    Args:
        splitter: how it is split.
        masks: for rows that lie side by side; None: rows are padded on the right.
        pad_id: any id of the vocabulary.
    """

    splitter: Splitter
    masks: Masks | None
    pad_id: int

    def __call__(self, features: Sequence[Feature]) -> dict[str, Any]:
        """`parts`, each with the model's own arguments, `logits_to_keep` and `targets` [M], in the order of the logits.

        `shift_labels` and `labels` are what is learnt in all, for the trainer to count.
        """
        rows = [_row(feature) for feature in features]
        parts = [
            padded(rows, part, self.pad_id) if self.masks is None else packed(rows, part, self.masks)
            for part in self.splitter.split(rows)
        ]
        learnt_M = torch.cat([part["targets"] for part in parts])
        return {"parts": parts, "labels": learnt_M, "shift_labels": learnt_M}


def packed(rows: Sequence[Row], part: Part, masks: Masks) -> dict[str, Any]:
    """Rows side by side behind what they share: one sequence of T tokens, [1, T] each.

    `logits_to_keep` [M] are the places of the tokens that predict those that are learnt.
    """
    shared, chosen = part.shared, [rows[place] for place in part.rows]
    ids = list(chosen[0].ids[:shared])
    position, owner = list(range(shared)), [-1] * shared
    reads: list[int] = []
    for number, row in enumerate(chosen):
        behind = len(ids) - shared  # of the row's positions, those of the sequence
        reads += range(behind + row.start - 1, behind + len(row.ids) - 1)
        ids += row.ids[shared:]
        position += range(shared, len(row.ids))
        owner += [number] * (len(row.ids) - shared)
    position_T = torch.tensor(position)
    return {
        "input_ids": torch.tensor(ids)[None],
        "position_ids": position_T[None],
        "attention_mask": masks.of(torch.tensor(owner), position_T),
        "logits_to_keep": torch.tensor(reads),
        "targets": torch.cat([torch.tensor(row.ids[row.start :]) for row in chosen]),
    }


def padded(rows: Sequence[Row], part: Part, pad_id: int) -> dict[str, Any]:
    """Rows below one another, [N, T] each. `logits_to_keep` is True where the next token is learnt."""
    chosen = [rows[place] for place in part.rows]
    longest = max(len(row.ids) for row in chosen)
    reads_NT = torch.zeros(len(chosen), longest, dtype=torch.bool)
    for number, row in enumerate(chosen):
        reads_NT[number, row.start - 1 : len(row.ids) - 1] = True
    ids = [torch.tensor(row.ids) for row in chosen]
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad_id),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        "logits_to_keep": reads_NT,
        "targets": torch.cat([row[one.start :] for row, one in zip(ids, chosen, strict=True)]),
    }


def _row(feature: Feature) -> Row:
    """A row of the data set: its labels stand where ids are learnt, to the end."""
    return Row(feature["input_ids"], sum(label == IGNORED for label in feature["labels"]))
