"""Trial of label scores: one or two rows of the run, computed again by plain forwards.

The trial compares the scores of the first token of every label, and of all tokens of the label that is scored last. The
shared prefix is read once for the run and once more for the plain forward of a row. If an empty cache does not change
the logits, one forward serves both.

Shapes: L labels, T tokens of the label, C = L + 1 numbers compared, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from sft.inference.scoring.scores import ScoreTable
from sft.model.trial import (
    DisagreementError,
    Trials,
    chosen_logprobs,
    difference,
    failed,
    largest,
    require_agreement,
    tolerance,
)
from sft.protocols import LanguageModel

Ids = Sequence[int]
_FEW = 32  # tokens for the trial of an empty cache


class OnTrial(Protocol):
    """A scorer under trial: see `PackedScorer` and `RowScorer`.

    Attributes:
        last_label: the label that is scored last.
    """

    decoder: Any
    prompts: Sequence[Ids]
    labels: Sequence[Ids]
    table: ScoreTable
    last_label: int


class LabelTrial:
    """Compares scores of the run with plain forwards.

    Args:
        model: a transformers or PEFT model.
        scorer: the scorer of the run.
        wanted: whether a trial is needed; False if such rows were tried before.
    """

    def __init__(self, model: LanguageModel, scorer: OnTrial, wanted: bool) -> None:
        self._scorer, self._decoder, self._wanted = scorer, scorer.decoder, wanted
        self._label = scorer.labels[scorer.last_label]
        self._tolerance, self._trials = tolerance(model), Trials(model)
        self._plain: dict[int, Tensor] = {}
        self._tried: list[int] = []

    def fault(self, error: Exception) -> str | None:
        """Return the fault that an error reveals in the scorer under trial; None if the scorer is not at fault."""
        if not self._wanted or (self._tried and not isinstance(error, DisagreementError)):
            return None
        return failed(error)

    def prefix_cache(self, row: int, prefix: int) -> DynamicCache:
        """Return the cache of the shared prefix of `prefix` ids; `row` also gets its plain forward for `check`."""
        prompt = self._scorer.prompts[row]
        # the same forwards make the cache with or without a trial: others would round differently
        if prefix < _FEW or self._decoder.has_virtual_tokens or not self._empty_cache_changes_nothing(prompt):
            if self._wanted:
                self._plain[row] = self._decoder.whole_labels([prompt], [self._label])[0]
            return self._decoder.prefix_cache(prompt[:prefix])
        fed = [*prompt, *self._label[:-1]]
        cache, self._plain[row] = self._decoder.prefix_cache_of(fed, prefix, keep=len(self._label))
        return cache

    def check(self, rows: Sequence[int]) -> None:
        """Try rows of the first batch; later rows only if their length is not comparable to a tried one.

        Args:
            rows: rows of the run whose scores are in the table.

        Raises:
            DisagreementError: the scores differ from plain forwards.
        """
        if not self._wanted or self._tried:
            return
        for row in rows:
            length = len(self._scorer.prompts[row])
            if not any(self._trials.alike(length, tried) for tried in self._tried):
                self._try(row)
                self._tried.append(length)

    def _try(self, row: int) -> None:
        scorer, label, table = self._scorer, self._label, self._scorer.table
        logits_TV = self._plain.pop(row, None)
        if logits_TV is None:
            logits_TV = self._decoder.whole_labels([scorer.prompts[row]], [label])[0]
        first_L = logits_TV[0].float().log_softmax(dim=-1)[[other[0] for other in scorer.labels]].double()
        whole = chosen_logprobs(logits_TV, label).double().sum()
        allowed_C = torch.full((len(first_L) + 1,), self._tolerance * largest(logits_TV), dtype=torch.double)
        allowed_C[-1] *= len(label)
        fast_C = torch.cat([table.firsts(row), table.whole(row, scorer.last_label)[None]])
        require_agreement(fast_C, torch.cat([first_L, whole[None]]), allowed_C, "label scores")

    def _empty_cache_changes_nothing(self, prompt: Ids) -> bool:
        """Whether an empty cache leaves the logits of a few tokens unchanged."""
        form = ("an empty cache", self._decoder.windowed)
        tried = self._trials.of(form, _FEW)
        if tried is None:
            few = prompt[:_FEW]
            plain_V = self._decoder.whole(torch.tensor([few], device=self._decoder.device), keep=1)[0, -1]
            _, cached_1V = self._decoder.prefix_cache_of(few, len(few), keep=1)
            same = (difference(cached_1V[0], plain_V) <= self._tolerance * largest(plain_V)).all()
            tried = self._trials.note(form, _FEW, None if same else "its logits change")
        return tried.fault is None
