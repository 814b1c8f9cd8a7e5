"""Pack prompts and label trees into one sequence: ids, positions and attention mask.

A sequence continues the prefix that all prompts share:

    body 1 | body 2 | … padding | last 1 | last 2 | … | tree 1 | tree 2 | …

A body is a prompt without its last token. The last token predicts, so all tokens that need logits come last. Every
token attends to the prefix and to the preceding tokens of its own prompt and label.

Shapes: G sequences of R prompts each, S tokens of bodies and last tokens, Q nodes of a tree, T tokens fed, K tokens of
the prefix and of the sequence together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sft.inference.tree import LabelTree

Ids = Sequence[int]

_BLOCK = 64  # tokens in a block


class Blocks(NamedTuple):
    """The attention mask of one sequence in blocks, without the prefix, which is visible to all.

    A block consists of neighbouring tokens of one prompt. Here, R counts blocks.

    Attributes:
        before: number of tokens of the prefix.
        query_RN: indices in the sequence of each block's tokens; padded with 0.
        key_RM: indices, counted after the prefix, of the tokens visible to the block; padded with 0.
        mask_R1NM: 0 where the token of the row may attend to that of the column, else minus infinity.
        index_T: index of each token among the R * N.
    """

    before: int
    query_RN: Tensor
    key_RM: Tensor
    mask_R1NM: Tensor
    index_T: Tensor


class Feed(NamedTuple):
    """The input of one forward.

    Attributes:
        ids_GT: token ids.
        positions_GT: position of each token in its own prompt and label.
        mask_GTK: True where the token of the row may attend to that of the column.
        reads: number of last tokens whose logits are needed.
        blocks: the same mask in blocks; None for several sequences.
    """

    ids_GT: Tensor
    positions_GT: Tensor
    mask_GTK: Tensor
    reads: int
    blocks: Blocks | None


class PackedPrompts:
    """Prompts packed into sequences that continue a prefix.

    Args:
        prompts: at least one prompt, each with at least one token after the prefix; the longest first.
        sequences: number of sequences; prompts are assigned to them in turn.
        before: number of tokens of the prefix.
        device: device of the tensors.

    Attributes:
        rows: R.
        context: S.
        index_B: index of each prompt among the G * R prompts of the sequences.
    """

    def __init__(self, prompts: Sequence[Ids], sequences: int, before: int, device: torch.device) -> None:
        self.rows = -(-len(prompts) // sequences)
        self._sequences, self._before, self._device = sequences, before, device
        groups = [list(prompts[g::sequences]) for g in range(sequences)]
        for group in groups:  # fill an incomplete last round with prompts of one token, whose scores are ignored
            group.extend([[0]] * (self.rows - len(group)))
        room = max(sum(len(prompt) - 1 for prompt in group) for group in groups)
        packed = [_packed(group, room, before) for group in groups]
        self._ids_GS, self._position_GS, self._owner_GS = (
            torch.tensor([sequence[part] for sequence in packed], device=device) for part in range(3)
        )
        self.context = room + self.rows
        self.index_B = torch.tensor(
            [index % sequences * self.rows + index // sequences for index in range(len(prompts))], device=device
        )

    def with_tree(self, tree: LabelTree | None) -> Feed:
        """Return the prompts, each followed by its own copy of a tree, as a continuation of the prefix."""
        if tree is None:
            mask_GTT = self._of_own(self._owner_GS, self._position_GS)
            return self._feed(self._ids_GS, self._position_GS, self._owner_GS, mask_GTT, self.rows)
        ids_GN, position_GN, owner_GN = self._trees(tree)
        owner_GT = torch.cat([self._owner_GS, owner_GN], dim=1)
        position_GT = torch.cat([self._position_GS, position_GN], dim=1)
        mask_GTT = self._of_own(owner_GT, position_GT)
        nodes = ids_GN.shape[1]
        mask_GTT[:, -nodes:, -nodes:] &= tree.mask_QQ.repeat(self.rows, self.rows)
        ids_GT = torch.cat([self._ids_GS, ids_GN], dim=1)
        return self._feed(ids_GT, position_GT, owner_GT, mask_GTT, self.rows + nodes)

    def tree_alone(self, tree: LabelTree) -> Feed:
        """Return another tree for each prompt, as a continuation of the prefix and the prompts."""
        ids_GN, position_GN, owner_GN = self._trees(tree)
        own_GNS = owner_GN[:, :, None] == self._owner_GS[:, None, :]
        among_GNN = (owner_GN[:, :, None] == owner_GN[:, None, :]) & tree.mask_QQ.repeat(self.rows, self.rows)
        mask_GNM = torch.cat([own_GNS, among_GNN], dim=2)
        return self._feed(ids_GN, position_GN, owner_GN, mask_GNM, ids_GN.shape[1])

    def _feed(self, ids_GT: Tensor, positions_GT: Tensor, owner_GT: Tensor, own_GTM: Tensor, reads: int) -> Feed:
        mask_GTK = self._with_prefix(own_GTM)
        blocks = find_blocks(mask_GTK[0], owner_GT[0], self._before) if self._sequences == 1 else None
        return Feed(ids_GT, positions_GT, mask_GTK, reads, blocks)

    def _trees(self, tree: LabelTree) -> tuple[Tensor, Tensor, Tensor]:
        """Return ids, positions and owners [G, R * Q] of the trees, concatenated."""
        sequences, rows, nodes = self._sequences, self.rows, len(tree.ids_Q)
        ids_GN = tree.ids_Q.repeat(rows).expand(sequences, -1)
        last_GR = self._position_GS[:, -rows:]
        position_GN = (last_GR[:, :, None] + 1 + tree.depth_Q).reshape(sequences, rows * nodes)
        owner_N = torch.arange(rows, device=self._device).repeat_interleave(nodes)
        return ids_GN, position_GN, owner_N.expand(sequences, -1)

    def _of_own(self, owner_GT: Tensor, position_GT: Tensor) -> Tensor:
        """Return True where a token belongs to the same prompt and is not later."""
        same_GTT = owner_GT[:, :, None] == owner_GT[:, None, :]
        return same_GTT & (position_GT[:, :, None] >= position_GT[:, None, :])

    def _with_prefix(self, mask_GTT: Tensor) -> Tensor:
        return torch.cat([mask_GTT.new_ones(*mask_GTT.shape[:2], self._before), mask_GTT], dim=2)


def find_blocks(mask_TK: Tensor, owner_T: Tensor, before: int) -> Blocks | None:
    """Split an attention mask into blocks; None if there is no prefix, or if it is not visible to all tokens."""
    if not before or not mask_TK[:, :before].all():
        return None
    mask_TM = mask_TK[:, before:]
    # distant nodes of a tree rarely share more than their prompt
    queries = [part for owner in owner_T.unique() for part in _parts(torch.nonzero(owner_T == owner)[:, 0])]
    keys = [torch.nonzero(mask_TM[tokens].any(dim=0))[:, 0] for tokens in queries]
    query_RN, key_RM = (pad_sequence(tokens, batch_first=True, padding_value=-1) for tokens in (queries, keys))
    absent_RN1, there_R1M = (query_RN < 0)[:, :, None], (key_RM >= 0)[:, None, :]
    visible_RNM = mask_TM[query_RN.clamp(min=0)[:, :, None], key_RM.clamp(min=0)[:, None, :]]
    shut_RNM = ~((visible_RNM & there_R1M) | absent_RN1)
    mask_RNM = torch.zeros(shut_RNM.shape, device=mask_TK.device).masked_fill_(shut_RNM, float("-inf"))
    fed = (query_RN >= 0).flatten()
    index_T = torch.empty_like(owner_T)
    index_T[query_RN.flatten()[fed]] = torch.nonzero(fed)[:, 0]
    return Blocks(before, query_RN.clamp(min=0), key_RM.clamp(min=0), mask_RNM[:, None], index_T)


def _parts(tokens_T: Tensor) -> tuple[Tensor, ...]:
    """Split token indices into as few parts as possible of at most `_BLOCK` tokens, about equally large."""
    return tokens_T.tensor_split(-(-len(tokens_T) // _BLOCK))


def _packed(prompts: Sequence[Ids], room: int, before: int) -> tuple[list[int], list[int], list[int]]:
    """Return ids, positions and owners of bodies, padding (owner -1) and last tokens of one sequence."""
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
