"""Fast label scorer: prompts and label trees are packed into one sequence after their shared prefix.

The prefix is read once, into a cache that every forward continues. Each forward feeds some prompts and the tree of all
labels after each of them. So every distinct token goes through the model once, and logits are computed only where they
predict a label's token. If the tree is too large for one forward, its other parts follow in further forwards.

Shapes: B prompts of a batch in G sequences, L labels, C labels of a chunk, Q nodes of its tree, T tokens of a label,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sft.inference.batching import Capacity, Costs, run_batches
from sft.inference.caches import BufferCache
from sft.inference.decoder import Decoder
from sft.inference.label_trial import LabelTrial
from sft.inference.packing import PackedPrompts
from sft.inference.scoring.scores import ScoreTable
from sft.inference.tree import LabelTree, label_tree, tree_chunk, tree_size
from sft.log import Progress
from sft.sequences import common_prefix as longest_prefix

Ids = Sequence[int]

SHORTEST_PREFIX = 8  # a shorter prefix is not worth a forward of its own
# tokens of a sequence: with more, more pairs are masked; with fewer, the weights are read more often
CPU_PACK, DEVICE_PACK = 640, 512
TREE = 512  # nodes fed after a prompt in one forward: their mask grows with their square
_LOGITS = 2**21  # numbers of the logits that are summed at a time


class Chunk(NamedTuple):
    """Labels that are scored together, as indices, and their tree; None if it has no nodes."""

    labels: list[int]
    tree: LabelTree | None

    @property
    def nodes(self) -> int:
        """Number of nodes of the tree, Q."""
        return 0 if self.tree is None else len(self.tree.ids_Q)


class PackedScorer:
    """Scores labels with a decoder that takes custom attention masks.

    Args:
        decoder: the model, without `obstacle` and `apart`.
        prompts: N lists of ids.
        labels: L lists of ids.
        table: receives the scores.
        capacity: limits the size of a forward.
    """

    make_tree: Callable[[Sequence[Ids], torch.device], LabelTree] = staticmethod(label_tree)
    make_cache: type[BufferCache] = BufferCache
    make_prompts: type[PackedPrompts] = PackedPrompts

    def __init__(
        self, decoder: Decoder, prompts: Sequence[Ids], labels: Sequence[Ids], table: ScoreTable, capacity: Capacity
    ) -> None:
        self.decoder, self.prompts, self.labels, self.table, self.capacity = decoder, prompts, labels, table, capacity
        self.costs = Costs.of(decoder.base)
        self._on_cpu = decoder.device.type == "cpu"
        # sorted by their ids, so that labels with a shared prefix are in one tree
        self._label_order = sorted(range(len(labels)), key=lambda label: list(labels[label]))
        self._first_ids_L = torch.tensor([label[0] for label in labels], device=decoder.device)
        self._nodes = tree_size([labels[label] for label in self._label_order])
        self._chunks: dict[tuple[int, int], Chunk] = {}

    @property
    def last_label(self) -> int:
        """The last label of the last tree, whose indices differ most from their positions."""
        longer = [label for label in self._label_order if len(self.labels[label]) > 1]
        return (longer or self._label_order)[-1]

    def run(self, progress: Progress, trial: LabelTrial) -> None:
        """Score all labels after all prompts.

        Raises:
            DisagreementError: `trial` found a wrong row.
        """
        shared = common_prefix(self.prompts)
        self._shared = shared if shared >= SHORTEST_PREFIX else 0
        order = sorted(range(len(self.prompts)), key=lambda row: -len(self.prompts[row]))
        self._cache = self.make_cache(trial.prefix_cache(order[0], self._shared))
        self._before = self._cache.get_seq_length()

        def score(rows: Sequence[int]) -> None:
            self._score(rows)
            trial.check(order[:1])

        with self.decoder.packing():
            run_batches(
                order,
                self._rows_from,
                score,
                self.capacity,
                lambda done: progress("score", done, len(order)),
            )

    def _rows_from(self, row: int, left: int) -> int:
        """Return how many prompts fit into a forward whose first and longest prompt is `row`."""
        own, nodes = len(self.prompts[row]) - self._shared, min(self._nodes, TREE)
        per_sequence = max(1, self._pack_limit // (own + nodes))
        cost = self.costs.packed(own, nodes, self._before, self._pack_limit)
        cost += self._before * self.costs.cached // per_sequence
        # one sequence at a time on a CPU: more are not faster, and the prefix is stored once
        return self.capacity.rows(cost, own + nodes, min(left, per_sequence) if self._on_cpu else left)

    @property
    def _pack_limit(self) -> int:
        return CPU_PACK if self._on_cpu else DEVICE_PACK

    def _score(self, rows: Sequence[int]) -> None:
        """Score all labels after some prompts."""
        chunk = self._next_chunk(0, len(rows))
        prompts = [self.prompts[row][self._shared :] for row in rows]
        sequences = -(-len(rows) // max(1, self._pack_limit // (len(prompts[0]) + chunk.nodes)))
        packed = self.make_prompts(prompts, sequences, self._before, self.decoder.device)
        self._cache.keep_first(self._before)
        logits_GTV = self.decoder.packed(packed.with_tree(chunk.tree), self._cache)
        last_GRV = logits_GTV[:, : packed.rows]
        firsts_BL = picked(last_GRV.flatten(0, 1), self._first_ids_L)[packed.index_B.to(logits_GTV.device)]
        nodes_GTV, done = logits_GTV[:, packed.rows :], 0
        while True:
            self._put(rows, chunk, firsts_BL, nodes_GTV, packed)
            done += len(chunk.labels)
            if done == len(self.labels):
                return
            chunk = self._next_chunk(done, len(rows))
            if chunk.tree is not None:
                self._cache.keep_first(self._before + packed.context)
                nodes_GTV = self.decoder.packed(packed.tree_alone(chunk.tree), self._cache)

    def _put(
        self, rows: Sequence[int], chunk: Chunk, firsts_BL: Tensor, nodes_GTV: Tensor, packed: PackedPrompts
    ) -> None:
        logprobs_BC1 = firsts_BL[:, chunk.labels, None]
        if chunk.tree is None:
            self.table.put_block(rows, chunk.labels, logprobs_BC1)
            return
        nodes_BQV = nodes_GTV.reshape(-1, chunk.nodes, nodes_GTV.shape[-1])  # a view, or a copy of a few sequences
        rest_BCT = along_labels(nodes_BQV, chunk.tree)[packed.index_B.to(nodes_GTV.device)]
        self.table.put_block(rows, chunk.labels, torch.cat([logprobs_BC1, rest_BCT], dim=2))

    def _next_chunk(self, start: int, rows: int) -> Chunk:
        """Return the labels from index `start` on whose tree fits after `rows` prompts; at least one."""
        cost = rows * self.costs.node(self._before, self._pack_limit)
        fits = self.capacity.fitting(cost, rows, max(1, min(self._nodes, TREE)))
        return self._chunk(start, fits)

    def _chunk(self, start: int, limit: int) -> Chunk:
        if (start, limit) not in self._chunks:
            count = tree_chunk([self.labels[label] for label in self._label_order[start:]], limit)
            chosen = self._label_order[start : start + count]
            labels = [self.labels[label] for label in chosen]
            has_nodes = any(len(label) > 1 for label in labels)
            tree = self.make_tree(labels, self.decoder.device) if has_nodes else None
            self._chunks[start, limit] = Chunk(chosen, tree)
        return self._chunks[start, limit]


def common_prefix(prompts: Sequence[Ids]) -> int:
    """Return the length of the shared prefix that leaves each prompt at least one id; 0 for a single prompt."""
    if len(prompts) < 2:
        return 0
    return min(min(map(len, prompts)) - 1, longest_prefix(list(map(list, prompts))))


def picked(logits_BV: Tensor, ids_L: Tensor) -> Tensor:
    """Return the log-probabilities [B, L] of the same ids in each row, from an fp32 log-softmax."""
    return logits_BV.float().log_softmax(dim=-1)[:, ids_L.to(logits_BV.device)]


def along_labels(logits_BQV: Tensor, tree: LabelTree) -> Tensor:
    """Return the log-probabilities [B, C, T] of the labels' tokens but the first, from an fp32 log-softmax."""
    node_CT, target_CT = tree.node_CT.to(logits_BQV.device), tree.target_CT.to(logits_BQV.device)
    # a full log-softmax would be as large as the logits; only some of its values are needed
    step = max(1, _LOGITS // logits_BQV.shape[-1])
    norms = [part.float().logsumexp(dim=-1) for part in logits_BQV.flatten(0, 1).split(step)]
    norms_BQ = torch.cat(norms).view(logits_BQV.shape[:2])
    return logits_BQV[:, node_CT, target_CT].float() - norms_BQ[:, node_CT]
