"""Prompts and label trees side by side in one sequence: which ids, at which positions, seeing which others.

A sequence continues the beginning that all prompts share:

    body 1 | body 2 | … padding | last 1 | last 2 | … | tree 1 | tree 2 | …

A body is a prompt without its last token, which stands apart because it predicts: so all tokens that the head reads
come last. Every token sees the beginning and, of the rest, only what precedes it in its own prompt and label. Knows ids
alone, no model.

Shapes: G sequences of R prompts each, S tokens of bodies and last tokens, Q nodes of a tree, T tokens fed, K tokens of
the beginning and of the sequence together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sft.inference.tree import LabelTree

Ids = Sequence[int]

_BLOCK = 64  # tokens whose attention to their own is computed at once


class Blocks(NamedTuple):
    """Who sees whom in one sequence, block by block, without the beginning, which all see.

    A block is some neighbouring tokens of one prompt; R here counts blocks.

    Attributes:
        before: tokens of the beginning.
        query_RN: places in the sequence of each block's tokens that are fed; padded with 0.
        key_RM: places behind the beginning of what they see; padded with 0.
        mask_R1NM: 0 where the token of the row may attend to that of the column, else minus infinity.
        place_T: where each token stands among the R * N.
    """

    before: int
    query_RN: Tensor
    key_RM: Tensor
    mask_R1NM: Tensor
    place_T: Tensor


class Feed(NamedTuple):
    """One forward.

    Attributes:
        ids_GT: what to feed.
        positions_GT: each token's place in its own prompt and label.
        sees_GTK: True where the token of the row may attend to that of the column.
        reads: the logits of so many last tokens are wanted.
        blocks: the same as `sees_GTK`; None where there are several sequences.
    """

    ids_GT: Tensor
    positions_GT: Tensor
    sees_GTK: Tensor
    reads: int
    blocks: Blocks | None


class PackedPrompts:
    """Prompts packed into sequences that continue a beginning.

    Args:
        prompts: at least one, each with at least one token behind the beginning; the longest first.
        sequences: how many lie side by side; prompts are dealt to them one by one.
        before: tokens of the beginning.
        device: where the tensors are to lie.

    Attributes:
        rows: R.
        context: S.
        places_B: where, among the G * R prompts of the sequences, each prompt stands.
    """

    def __init__(self, prompts: Sequence[Ids], sequences: int, before: int, device: torch.device) -> None:
        self.rows = -(-len(prompts) // sequences)
        self._sequences, self._before, self._device = sequences, before, device
        dealt = [list(prompts[g::sequences]) for g in range(sequences)]
        for some in dealt:  # a last round that is not full: prompts of one token that nobody asks about
            some.extend([[0]] * (self.rows - len(some)))
        room = max(sum(len(prompt) - 1 for prompt in some) for some in dealt)
        packed = [_packed(some, room, before) for some in dealt]
        self._ids_GS, self._position_GS, self._owner_GS = (
            torch.tensor([one[part] for one in packed], device=device) for part in range(3)
        )
        self.context = room + self.rows
        self.places_B = torch.tensor(
            [index % sequences * self.rows + index // sequences for index in range(len(prompts))], device=device
        )

    def with_tree(self, tree: LabelTree | None) -> Feed:
        """The prompts, each followed by its own copy of a tree; behind the beginning."""
        if tree is None:
            sees_GTT = self._of_own(self._owner_GS, self._position_GS)
            return self._feed(self._ids_GS, self._position_GS, self._owner_GS, sees_GTT, self.rows)
        ids_GN, position_GN, owner_GN = self._trees(tree)
        owner_GT = torch.cat([self._owner_GS, owner_GN], dim=1)
        position_GT = torch.cat([self._position_GS, position_GN], dim=1)
        sees_GTT = self._of_own(owner_GT, position_GT)
        nodes = ids_GN.shape[1]
        sees_GTT[:, -nodes:, -nodes:] &= tree.sees_QQ.repeat(self.rows, self.rows)
        ids_GT = torch.cat([self._ids_GS, ids_GN], dim=1)
        return self._feed(ids_GT, position_GT, owner_GT, sees_GTT, self.rows + nodes)

    def tree_alone(self, tree: LabelTree) -> Feed:
        """Another tree for each prompt; behind the beginning and the prompts, which were fed before."""
        ids_GN, position_GN, owner_GN = self._trees(tree)
        own_GNS = owner_GN[:, :, None] == self._owner_GS[:, None, :]
        among_GNN = (owner_GN[:, :, None] == owner_GN[:, None, :]) & tree.sees_QQ.repeat(self.rows, self.rows)
        sees_GNM = torch.cat([own_GNS, among_GNN], dim=2)
        return self._feed(ids_GN, position_GN, owner_GN, sees_GNM, ids_GN.shape[1])

    def _feed(self, ids_GT: Tensor, positions_GT: Tensor, owner_GT: Tensor, own_GTM: Tensor, reads: int) -> Feed:
        sees_GTK = self._with_beginning(own_GTM)
        blocks = find_blocks(sees_GTK[0], owner_GT[0], self._before) if self._sequences == 1 else None
        return Feed(ids_GT, positions_GT, sees_GTK, reads, blocks)

    def _trees(self, tree: LabelTree) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, positions and owners [G, R * Q] of the trees, one behind the other."""
        sequences, rows, nodes = self._sequences, self.rows, len(tree.ids_Q)
        ids_GN = tree.ids_Q.repeat(rows).expand(sequences, -1)
        last_GR = self._position_GS[:, -rows:]
        position_GN = (last_GR[:, :, None] + 1 + tree.depth_Q).reshape(sequences, rows * nodes)
        owner_N = torch.arange(rows, device=self._device).repeat_interleave(nodes)
        return ids_GN, position_GN, owner_N.expand(sequences, -1)

    def _of_own(self, owner_GT: Tensor, position_GT: Tensor) -> Tensor:
        """True where a token is of the same prompt and not further on."""
        same_GTT = owner_GT[:, :, None] == owner_GT[:, None, :]
        return same_GTT & (position_GT[:, :, None] >= position_GT[:, None, :])

    def _with_beginning(self, sees_GTT: Tensor) -> Tensor:
        return torch.cat([sees_GTT.new_ones(*sees_GTT.shape[:2], self._before), sees_GTT], dim=2)


def find_blocks(sees_TK: Tensor, owner_T: Tensor, before: int) -> Blocks | None:
    """Who sees whom, some tokens of an owner at a time; None where not all see the beginning, or there is none."""
    if not before or not sees_TK[:, :before].all():
        return None
    sees_TM = sees_TK[:, before:]
    # nodes of a tree that stand far from one another rarely share more than what their prompt gives them
    queries = [part for owner in owner_T.unique() for part in _parts(torch.nonzero(owner_T == owner)[:, 0])]
    keys = [torch.nonzero(sees_TM[places].any(dim=0))[:, 0] for places in queries]
    query_RN, key_RM = (pad_sequence(places, batch_first=True, padding_value=-1) for places in (queries, keys))
    absent_RN1, there_R1M = (query_RN < 0)[:, :, None], (key_RM >= 0)[:, None, :]
    sees_RNM = sees_TM[query_RN.clamp(min=0)[:, :, None], key_RM.clamp(min=0)[:, None, :]]
    shut_RNM = ~((sees_RNM & there_R1M) | absent_RN1)
    mask_RNM = torch.zeros(shut_RNM.shape, device=sees_TK.device).masked_fill_(shut_RNM, float("-inf"))
    fed = (query_RN >= 0).flatten()
    place_T = torch.empty_like(owner_T)
    place_T[query_RN.flatten()[fed]] = torch.nonzero(fed)[:, 0]
    return Blocks(before, query_RN.clamp(min=0), key_RM.clamp(min=0), mask_RNM[:, None], place_T)


def _parts(places_T: Tensor) -> tuple[Tensor, ...]:
    """As few parts as may be of at most `_BLOCK` tokens, about equally large."""
    return places_T.tensor_split(-(-len(places_T) // _BLOCK))


def _packed(prompts: Sequence[Ids], room: int, before: int) -> tuple[list[int], list[int], list[int]]:
    """Ids, positions and owners of bodies, padding (whose owner is nobody) and last tokens of one sequence."""
    ids: list[int] = []
    positions: list[int] = []
    owners: list[int] = []
    for owner, prompt in enumerate(prompts):
        ids += prompt[:-1]
        positions += range(before, before + len(prompt) - 1)
        owners += [owner] * (len(prompt) - 1)
    padding = room - len(ids)
    ids += [0] * padding + [prompt[-1] for prompt in prompts]
    positions += [before] * padding + [before + len(prompt) - 1 for prompt in prompts]
    owners += [-1] * padding + list(range(len(prompts)))
    return ids, positions, owners
