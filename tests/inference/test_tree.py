"""Labels packed into a tree: shared prefixes once, and the attention mask."""

from __future__ import annotations

import torch

from sft.inference.tree import label_tree, tree_chunk, tree_size

END = 9


def test_a_small_tree_on_paper() -> None:
    tree = label_tree([[1, 2, END], [1, END], [1, 3, 2, END], [2, END], [END]], torch.device("cpu"))
    assert tree.ids_Q.tolist() == [1, 2, 3, 2, 2]
    assert tree.depth_Q.tolist() == [0, 1, 1, 2, 0]
    assert tree.mask_QQ.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [1, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]
    assert tree.node_CT.tolist() == [[0, 1, 0], [0, 0, 0], [0, 2, 3], [4, 0, 0], [0, 0, 0]]
    assert tree.target_CT.tolist() == [[2, END, 0], [END, 0, 0], [3, 2, END], [END, 0, 0], [0, 0, 0]]


def test_equal_labels_share_everything() -> None:
    tree = label_tree([[4, 5, END]] * 3, torch.device("cpu"))
    assert tree.ids_Q.tolist() == [4, 5]
    assert tree.node_CT.tolist() == [[0, 1]] * 3


def test_a_shared_prefix_of_labels_is_fed_once() -> None:
    labels = [[1, 1, 1, 1, token, END] for token in range(50)]
    assert len(label_tree(labels, torch.device("cpu")).ids_Q) == 4 + 50


def test_chunks_hold_as_many_labels_as_their_tree_may_have_nodes() -> None:
    labels = sorted([[1, 2, END], [1, END], [1, 3, 2, END], [2, END], [END]])
    assert tree_size(labels) == len(label_tree(labels, torch.device("cpu")).ids_Q) == 5
    assert [tree_chunk(labels, nodes) for nodes in range(6)] == [1, 1, 1, 1, 3, 5]
    assert tree_chunk([[5, 6, 7, END]], 1) == 1, "never none"
