"""Labels as one packed tree: what several labels begin with stands once, and every label is read in one forward.

Knows ids only; which of them may see which, and where each label's tokens are predicted.

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
        depth_Q: how many tokens of the label stand before each.
        sees_QQ: True where the token of the row may attend to that of the column: itself and its ancestors.
        node_CT: place in the tree of what predicts token t + 1 of label c; 0 beyond the label's end.
        target_CT: that token; 0 beyond the label's end.
    """

    ids_Q: Tensor
    depth_Q: Tensor
    sees_QQ: Tensor
    node_CT: Tensor
    target_CT: Tensor


def label_tree(labels: Sequence[Sequence[int]], device: torch.device) -> LabelTree:
    """Pack labels, at least one of them longer than a token."""
    nodes: dict[tuple[int, int], int] = {}  # (parent, token) -> place
    longest = max(map(len, labels))
    node_CT, target_CT = (np.zeros((len(labels), longest - 1), dtype=np.int64) for _ in range(2))
    for column, label in enumerate(labels):
        parent = -1
        for depth, token in enumerate(label[:-1]):
            parent = nodes.setdefault((parent, token), len(nodes))
            node_CT[column, depth], target_CT[column, depth] = parent, label[depth + 1]
    sees_QQ = np.eye(len(nodes), dtype=bool)
    for (parent, _), place in nodes.items():
        if parent >= 0:
            sees_QQ[place] |= sees_QQ[parent]
    ids_Q = [token for _, token in nodes]
    return LabelTree(
        torch.tensor(ids_Q, device=device),
        torch.from_numpy(sees_QQ.sum(axis=1) - 1).to(device),
        torch.from_numpy(sees_QQ).to(device),
        torch.from_numpy(node_CT).to(device),
        torch.from_numpy(target_CT).to(device),
    )


def tree_size(labels: Sequence[Sequence[int]]) -> int:
    """Q of the tree of all labels, which come in the order of their ids."""
    return sum(_new_nodes(labels))


def tree_chunk(labels: Sequence[Sequence[int]], nodes: int) -> int:
    """How many labels from the first on make a tree of at most so many nodes; at least 1.

    Args:
        labels: in the order of their ids, so that what two neighbours begin with is all that the later one shares.
        nodes: Q at most.
    """
    totals = accumulate(_new_nodes(labels))
    return max(1, sum(1 for _ in takewhile(lambda total: total <= nodes, totals)))


def _new_nodes(labels: Sequence[Sequence[int]]) -> Iterator[int]:
    """How many nodes each label adds to those of the labels before it."""
    for before, label in pairwise((labels[0][:0], *labels)):
        yield len(label) - 1 - common_prefix((before[:-1], label[:-1]))
