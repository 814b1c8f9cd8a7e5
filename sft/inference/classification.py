"""Exact log-probabilities of labels after prompts: ids in, `LabelScores` out. No configs, tokenizers or data sets.

For each batch the prompts are read once; their last logits give every label's first token, and all labels continue
from the one cache in one forward, packed into a tree (where attention cannot be told who sees whom: each label in a row
of its own). What all prompts begin with is read once for all batches. Where a model's cache cannot be continued at all,
prompt and label are run whole, without padding.

Every score is log-softmax, in fp32, at the position BEFORE the scored token.

Shapes: N prompts, L labels, B rows of a batch, C labels of a chunk, T tokens of a label, M = pairs of row and label,
V vocabulary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from sft.inference.batching import TREE_TOKENS, AnyBatchSize, Capacity, Costs, run_batches
from sft.inference.decoder import Decoder, Read, evaluating
from sft.inference.scores import LabelScores
from sft.inference.tree import label_tree
from sft.log import Progress, get_logger, silent

logger = get_logger(__name__)

Ids = Sequence[int]
_SHORTEST_PREFIX = 8  # a shorter common beginning is not worth a forward of its own


def score_labels(
    model: torch.nn.Module,
    prompts: Sequence[Ids],
    labels: Sequence[Ids],
    *,
    end_tokens: int = 1,
    batch_size: AnyBatchSize = "auto",
    progress: Progress = silent,
) -> LabelScores:
    """Score every label after every prompt. The model's mode and config stay as they are.

    Args:
        model: a transformers causal model, or a PEFT model around one; no pad token is needed.
        prompts: N lists of ids, none empty.
        labels: L lists of ids, each with its end of turn.
        end_tokens: how many ids at the end of each label are the end of turn.
        batch_size: prompts in a forward, or `"auto"`. Either is halved when memory runs out.
        progress: told how many prompts (in the fallback: prompts x labels) are done.

    Raises:
        ValueError: an empty prompt, or a label that is empty or shorter than its end of turn.
        ModelError: an encoder-decoder model.
    """
    _check(prompts, labels, end_tokens)
    table = _Table(len(prompts), labels, end_tokens)
    if prompts and labels:
        with evaluating(model):
            longest = max(map(len, prompts)) + max(map(len, labels))
            decoder = Decoder(model, longest)
            engine = _Engine(decoder, prompts, labels, table, Capacity.of(decoder.device, batch_size))
            engine.run(progress)
    return table.scores()


class _Table:
    """The scores so far, in the caller's order."""

    def __init__(self, rows: int, labels: Sequence[Ids], end_tokens: int) -> None:
        self.counts_L = np.array([len(label) for label in labels], dtype=np.int64)
        self._end_tokens = end_tokens
        self._sum_NL, self._end_NL, self._first_NL = (
            np.full((rows, len(labels)), np.nan, dtype=np.float32) for _ in range(3)
        )

    def put(self, rows_M: Sequence[int], labels_M: Sequence[int], logprobs_MT: Tensor) -> None:
        """Store the tokens' log-probabilities of M (row, label) pairs; what lies beyond a label's end is dropped."""
        values_MT = logprobs_MT.cpu().numpy().astype(np.float64)
        counts_M1 = self.counts_L[list(labels_M)][:, None]
        place_1T = np.arange(values_MT.shape[1])[None]
        values_MT = np.where(place_1T < counts_M1, values_MT, 0.0)
        cells = (list(rows_M), list(labels_M))
        self._sum_NL[cells] = values_MT.sum(axis=1)
        self._end_NL[cells] = np.where(place_1T >= counts_M1 - self._end_tokens, values_MT, 0.0).sum(axis=1)
        self._first_NL[cells] = values_MT[:, 0]

    def scores(self) -> LabelScores:
        return LabelScores(self._sum_NL, self._end_NL, self._first_NL, self.counts_L)


class _Engine:
    """One call of `score_labels`: the model, the ids, and where the scores go."""

    def __init__(
        self, decoder: Decoder, prompts: Sequence[Ids], labels: Sequence[Ids], table: _Table, capacity: Capacity
    ) -> None:
        self.decoder, self.prompts, self.labels, self.table, self.capacity = decoder, prompts, labels, table, capacity
        self.costs = Costs.of(decoder.base)
        self.label_order = sorted(range(len(labels)), key=lambda label: len(labels[label]))

    def run(self, progress: Progress) -> None:
        if self.decoder.obstacle is None:
            self._run_shared(progress)
        else:
            logger.info("Labels are scored by whole re-runs, slower but exact: %s", self.decoder.obstacle)
            self._run_whole(progress)

    def _run_shared(self, progress: Progress) -> None:
        """Each prompt once, all labels from its cache."""
        prefix = common_prefix(self.prompts) if self.decoder.shares_prefix else 0
        prefix = prefix if prefix >= _SHORTEST_PREFIX else 0
        opening = self.decoder.opening(self.prompts[0][:prefix])
        order = sorted(range(len(self.prompts)), key=lambda row: -len(self.prompts[row]))

        def rows_from(row: int, left: int) -> int:
            length = len(self.prompts[row])
            return self.capacity.rows(self.costs.prompt(length), length - prefix, left)

        run_batches(
            order,
            rows_from,
            lambda rows: self._score_batch(rows, opening, prefix),
            self.capacity,
            lambda done: progress("score", done, len(order)),
        )

    def _score_batch(self, rows: Sequence[int], opening: DynamicCache, prefix: int) -> None:
        read = self.decoder.read([self.prompts[row][prefix:] for row in rows], opening)
        first_logprobs_BV = read.logits_BV.float().log_softmax(dim=-1)
        start = 0
        while start < len(self.label_order):
            chunk = self.label_order[start : start + self._chunk_size(read, start)]
            logprobs_MT = self._score_chunk(read, first_logprobs_BV, chunk)
            pairs = list(product(rows, chunk))
            self.table.put([row for row, _ in pairs], [label for _, label in pairs], logprobs_MT)
            start += len(chunk)

    def _chunk_size(self, read: Read, start: int) -> int:
        """How many labels from `start` on may continue in one forward; they come by length, so that few are padded."""
        rows, context = read.mask_BK.shape
        left = len(self.labels) - start

        def fitting(tokens: int) -> int:
            if self.decoder.sees_trees:
                return self.capacity.fitting(
                    rows * self.costs.branch(context, tokens), rows * tokens, min(left, max(1, TREE_TOKENS // tokens))
                )
            return self.capacity.fitting(rows * self.costs.label(context, tokens), rows * tokens, left)

        # the labels further on are longer: what fits the last of them fits all
        return fitting(len(self._label(start + fitting(len(self._label(start))) - 1)))

    def _label(self, place: int) -> Ids:
        return self.labels[self.label_order[place]]

    def _score_chunk(self, read: Read, first_logprobs_BV: Tensor, chunk: Sequence[int]) -> Tensor:
        """Log-probabilities [B * C, T] of the labels' tokens, padded on the right with what does not count."""
        labels, device = [self.labels[label] for label in chunk], self.decoder.device
        rows, count = first_logprobs_BV.shape[0], len(chunk)
        first_M1 = first_logprobs_BV[:, [label[0] for label in labels]].reshape(rows * count, 1)
        if len(labels[-1]) == 1:
            return first_M1
        if self.decoder.sees_trees:
            tree = label_tree(labels, device)
            logprobs_BQV = self.decoder.extend_tree(read, tree).float().log_softmax(dim=-1)
            places = tree.node_CT.to(logprobs_BQV.device), tree.target_CT.to(logprobs_BQV.device)
            rest_MT = logprobs_BQV[:, *places].reshape(rows * count, -1)
        else:
            ids_CT, mask_CT = _right_padded(labels, device)
            logits_MTV = self.decoder.extend(read, ids_CT[:, :-1], mask_CT[:, :-1])
            rest_MT = _picked(logits_MTV, ids_CT[:, 1:].repeat(rows, 1))
        return torch.cat([first_M1, rest_MT], dim=1)

    def _run_whole(self, progress: Progress) -> None:
        """Prompt and label in one forward, pairs of equal lengths together: no cache, no padding, any architecture."""
        groups: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for row, label in product(range(len(self.prompts)), range(len(self.labels))):
            groups[len(self.prompts[row]), len(self.labels[label])].append((row, label))
        total, before = len(self.prompts) * len(self.labels), 0
        # short ones first: a position encoding that grows keeps the frequencies of the longest text so far
        for lengths, pairs in sorted(groups.items()):
            report = partial(_report, progress, before, total)
            self._run_group(*lengths, pairs, report)
            before += len(pairs)

    def _run_group(self, prompt: int, label: int, pairs: list[tuple[int, int]], report: Callable[[int], None]) -> None:
        """All pairs of a prompt and a label of these lengths."""
        length = prompt + label
        cost = self.costs.prompt(length) + label * self.costs.logits
        run_batches(
            range(len(pairs)),
            lambda _, left: self.capacity.rows(cost, length, left),
            lambda batch: self._score_whole([pairs[index] for index in batch]),
            self.capacity,
            report,
        )

    def _score_whole(self, pairs: Sequence[tuple[int, int]]) -> None:
        device = self.decoder.device
        fed_MS = torch.tensor([[*self.prompts[row], *self.labels[label]] for row, label in pairs], device=device)
        targets_MT = torch.tensor([list(self.labels[label]) for _, label in pairs], device=device)
        logits_MTV = self.decoder.whole(fed_MS, keep=targets_MT.shape[1] + 1)[:, :-1]
        self.table.put([row for row, _ in pairs], [label for _, label in pairs], _picked(logits_MTV, targets_MT))


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress("score", before + done, total)


def common_prefix(prompts: Sequence[Ids]) -> int:
    """How many ids all prompts begin with, leaving each at least one of its own; 0 for a single prompt."""
    if len(prompts) < 2:
        return 0
    low, high = min(map(list, prompts)), max(map(list, prompts))  # the outermost in order differ first
    limit = min(map(len, prompts)) - 1
    return next((place for place in range(limit) if low[place] != high[place]), limit)


def _picked(logits_MTV: Tensor, ids_MT: Tensor) -> Tensor:
    """The log-probability of each id at its position, from an fp32 log-softmax."""
    ids = ids_MT.to(logits_MTV.device)[..., None]
    return logits_MTV.float().log_softmax(dim=-1).gather(-1, ids)[..., 0]


def _right_padded(labels: Sequence[Ids], device: torch.device) -> tuple[Tensor, Tensor]:
    longest = max(map(len, labels))
    ids_CT = torch.tensor([[*label, *[0] * (longest - len(label))] for label in labels], device=device)
    mask_CT = torch.tensor([[1] * len(label) + [0] * (longest - len(label)) for label in labels], device=device)
    return ids_CT, mask_CT


def _check(prompts: Sequence[Ids], labels: Sequence[Ids], end_tokens: int) -> None:
    for row, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"prompt {row} has no ids: there is nothing that a label could follow")
    for index, label in enumerate(labels):
        if len(label) < max(1, end_tokens):
            raise ValueError(f"label {index} has {len(label)} ids, fewer than its end of turn ({end_tokens})")
