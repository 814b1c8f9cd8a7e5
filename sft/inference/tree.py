"""Pack labels into one tree: a prefix shared by several labels is stored once, and one forward reads every label.

Shapes: Q tokens of the tree, C labels, T tokens of the longest label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise, takewhile
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sft.sequences import common_prefix


class LabelTree(NamedTuple):
    """The tokens to feed after a prompt so that every label's tokens but the first are predicted.

    Attributes:
        ids_Q: the tokens, each parent before its children.
        depth_Q: number of tokens of the label before each token.
        mask_QQ: True where the token of the row may attend to that of the column: itself and its ancestors.
        node_CT: index in the tree of the node that predicts token t + 1 of label c; 0 beyond the label's end.
        target_CT: that token; 0 beyond the label's end.
    """

    ids_Q: Tensor
    depth_Q: Tensor
    mask_QQ: Tensor
    node_CT: Tensor
    target_CT: Tensor


def label_tree(labels: Sequence[Sequence[int]], device: torch.device) -> LabelTree:
    """Pack labels, at least one of them longer than one token."""
    nodes: dict[tuple[int, int], int] = {}  # (parent, token) -> index
    longest = max(map(len, labels))
    node_CT, target_CT = (np.zeros((len(labels), longest - 1), dtype=np.int64) for _ in range(2))
    for column, label in enumerate(labels):
        parent = -1
        for depth, token in enumerate(label[:-1]):
            parent = nodes.setdefault((parent, token), len(nodes))
            node_CT[column, depth], target_CT[column, depth] = parent, label[depth + 1]
    mask_QQ = np.eye(len(nodes), dtype=bool)
    for (parent, _), node in nodes.items():
        if parent >= 0:
            mask_QQ[node] |= mask_QQ[parent]
    ids_Q = [token for _, token in nodes]
    return LabelTree(
        torch.tensor(ids_Q, device=device),
        torch.from_numpy(mask_QQ.sum(axis=1) - 1).to(device),
        torch.from_numpy(mask_QQ).to(device),
        torch.from_numpy(node_CT).to(device),
        torch.from_numpy(target_CT).to(device),
    )


def tree_size(labels: Sequence[Sequence[int]]) -> int:
    """Return the number of nodes of the tree of all labels, which are sorted by their ids."""
    return sum(_new_nodes(labels))


def tree_chunk(labels: Sequence[Sequence[int]], nodes: int) -> int:
    """Return how many of the first labels form a tree of at most `nodes` nodes; at least 1.

    Args:
        labels: sorted by their ids, so that a label shares its longest prefix with the one before it.
        nodes: maximum number of nodes.
    """
    totals = accumulate(_new_nodes(labels))
    return max(1, sum(1 for _ in takewhile(lambda total: total <= nodes, totals)))


def _new_nodes(labels: Sequence[Sequence[int]]) -> Iterator[int]:
    """Yield how many nodes each label adds to the tree of the labels before it."""
    for before, label in pairwise((labels[0][:0], *labels)):
        yield len(label) - 1 - common_prefix((before[:-1], label[:-1]))
