"""Fallback label scorers: each label in a row of its own, or prompt and label run whole.

`RowScorer` is for models whose cache can be continued but that accept no custom attention mask (sliding windows shorter
than the prompts, flash attention). The prompts of a batch are read once, and each label continues its prompt's cache in
a row of its own. `WholeScorer` is for models whose cache cannot be continued: no cache, no padding, any architecture.

Shapes: B prompts of a batch, C labels of a chunk, T tokens of a label, M pairs of a prompt and a label, S tokens of a
pair, V vocabulary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import torch
from torch import Tensor
from transformers import DynamicCache

from sft.inference.batching import Capacity, Costs, padded_first, run_batches
from sft.inference.decoder import Decoder, Read
from sft.inference.label_trial import LabelTrial
from sft.inference.scoring.packed_scorer import SHORTEST_PREFIX, common_prefix
from sft.inference.scoring.scores import ScoreTable
from sft.log import Progress

Ids = Sequence[int]


class RowScorer:
    """Scores labels from their prompts' caches, each in a row of its own.

    Args:
        decoder: the model, without `obstacle`.
        prompts: N lists of ids.
        labels: L lists of ids.
        table: receives the scores.
        capacity: limits the size of a forward.
    """

    def __init__(
        self, decoder: Decoder, prompts: Sequence[Ids], labels: Sequence[Ids], table: ScoreTable, capacity: Capacity
    ) -> None:
        self.decoder, self.prompts, self.labels, self.table, self.capacity = decoder, prompts, labels, table, capacity
        self.costs = Costs.of(decoder.base)
        # by length, to reduce padding
        self._label_order = sorted(range(len(labels)), key=lambda label: len(labels[label]))

    @property
    def last_label(self) -> int:
        """The longest label."""
        return self._label_order[-1]

    def run(self, progress: Progress, trial: LabelTrial) -> None:
        """Score all labels after all prompts.

        Raises:
            DisagreementError: `trial` found a wrong row.
        """
        prefix = common_prefix(self.prompts) if self.decoder.shares_prefix else 0
        prefix = prefix if prefix >= SHORTEST_PREFIX else 0
        prefix_cache = self.decoder.prefix_cache(self.prompts[0][:prefix])
        order = padded_first([len(prompt) for prompt in self.prompts])

        def score(rows: Sequence[int]) -> None:
            self._score(rows, prefix_cache, prefix)
            trial.check(rows[1::-1])  # the padded one first

        def rows_from(row: int, left: int) -> int:
            length = len(self.prompts[row])
            return self.capacity.rows(self.costs.prompt(length), length - prefix, left)

        run_batches(
            order,
            rows_from,
            score,
            self.capacity,
            lambda done: progress("score", done, len(order)),
        )

    def _score(self, rows: Sequence[int], prefix_cache: DynamicCache, prefix: int) -> None:
        read = self.decoder.read([self.prompts[row][prefix:] for row in rows], prefix_cache)
        first_logprobs_BV = read.logits_BV.float().log_softmax(dim=-1)
        start = 0
        while start < len(self._label_order):
            chunk = self._label_order[start : start + self._chunk_size(read, start)]
            self.table.put_block(rows, chunk, self._chunk_logprobs(read, first_logprobs_BV, chunk))
            start += len(chunk)

    def _chunk_size(self, read: Read, start: int) -> int:
        """Return how many labels from `start` on fit into one forward."""
        rows, context = read.mask_BK.shape
        left = len(self.labels) - start

        def fitting(tokens: int) -> int:
            return self.capacity.fitting(rows * self.costs.label(context, tokens), rows * tokens, left)

        # later labels are longer: what fits the last one fits all
        return fitting(len(self._label(start + fitting(len(self._label(start))) - 1)))

    def _label(self, index: int) -> Ids:
        return self.labels[self._label_order[index]]

    def _chunk_logprobs(self, read: Read, first_logprobs_BV: Tensor, chunk: Sequence[int]) -> Tensor:
        """Return the log-probabilities [B, C, T] of the labels' tokens; values beyond a label's end have no meaning."""
        labels = [self.labels[label] for label in chunk]
        rows, count = first_logprobs_BV.shape[0], len(chunk)
        first_BC1 = first_logprobs_BV[:, [label[0] for label in labels], None]
        if len(labels[-1]) == 1:
            return first_BC1
        ids_CT, mask_CT = right_padded(labels, self.decoder.device)
        logits_MTV = self.decoder.extend(read, ids_CT[:, :-1], mask_CT[:, :-1])
        rest_MT = chosen(logits_MTV, ids_CT[:, 1:].repeat(rows, 1))
        return torch.cat([first_BC1, rest_MT.view(rows, count, -1)], dim=2)


class WholeScorer:
    """Scores labels by whole re-runs of prompt and label, pairs of equal lengths together.

    It has the arguments of `RowScorer`, but the decoder may have an `obstacle`.
    """

    def __init__(
        self, decoder: Decoder, prompts: Sequence[Ids], labels: Sequence[Ids], table: ScoreTable, capacity: Capacity
    ) -> None:
        self.decoder, self.prompts, self.labels, self.table, self.capacity = decoder, prompts, labels, table, capacity
        self.costs = Costs.of(decoder.base)

    def run(self, progress: Progress) -> None:
        """Score all labels after all prompts; progress counts pairs."""
        groups: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for row, label in product(range(len(self.prompts)), range(len(self.labels))):
            groups[len(self.prompts[row]), len(self.labels[label])].append((row, label))
        total, before = len(self.prompts) * len(self.labels), 0
        # the shortest first: a position encoding that grows keeps the frequencies of the longest text so far
        for lengths, pairs in sorted(groups.items()):
            self._run_group(*lengths, pairs, partial(_report, progress, before, total))
            before += len(pairs)

    def _run_group(self, prompt: int, label: int, pairs: list[tuple[int, int]], report: Callable[[int], None]) -> None:
        """Score all pairs of a prompt and a label of these lengths."""
        length = prompt + label
        cost = self.costs.prompt(length) + label * self.costs.logits
        run_batches(
            range(len(pairs)),
            lambda _, left: self.capacity.rows(cost, length, left),
            lambda batch: self._score([pairs[index] for index in batch]),
            self.capacity,
            report,
        )

    def _score(self, pairs: Sequence[tuple[int, int]]) -> None:
        prompts, labels = [self.prompts[row] for row, _ in pairs], [self.labels[label] for _, label in pairs]
        logits_MTV = self.decoder.whole_labels(prompts, labels)
        targets_MT = torch.tensor([list(label) for label in labels], device=logits_MTV.device)
        rows_M, labels_M = zip(*pairs, strict=True)
        self.table.put_pairs(rows_M, labels_M, chosen(logits_MTV, targets_MT))


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress("score", before + done, total)


def chosen(logits_MTV: Tensor, ids_MT: Tensor) -> Tensor:
    """Return the log-probability [M, T] of each id at its position, from an fp32 log-softmax."""
    ids = ids_MT.to(logits_MTV.device)[..., None]
    return logits_MTV.float().log_softmax(dim=-1).gather(-1, ids)[..., 0]


def right_padded(labels: Sequence[Ids], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ids [C, T] and mask [C, T], 1 for tokens. Padding has id 0; any id would do."""
    longest = max(map(len, labels))
    ids_CT = torch.tensor([[*label, *[0] * (longest - len(label))] for label in labels], device=device)
    mask_CT = torch.tensor([[1] * len(label) + [0] * (longest - len(label)) for label in labels], device=device)
    return ids_CT, mask_CT
