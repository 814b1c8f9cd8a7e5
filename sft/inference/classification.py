"""Exact log-probabilities of labels after prompts: ids in, `LabelScores` out. No configs, tokenizers or data sets.

Every score is log-softmax, in fp32, at the position BEFORE the scored token. What all prompts begin with is read once
for all; prompts and the labels after them lie side by side in one sequence, the labels packed into a tree
(`scoring/packed_scorer.py`). Where a model's attention cannot be told who sees whom, each label stands in a row of its
own, and where its cache cannot be continued at all, prompt and label are run whole (`scoring/fallback_scorers.py`):
slower, and just as exact. Whether a model really computes what its config and signature promise is tried on rows of the
run (`label_trial.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch

from sft.inference.batching import BatchSize, Capacity
from sft.inference.decoder import Decoder
from sft.inference.encoder_decoder import EncoderDecoder
from sft.inference.label_trial import LabelTrial
from sft.inference.scoring.fallback_scorers import RowScorer, WholeScorer
from sft.inference.scoring.packed_scorer import SHORTEST_PREFIX, PackedScorer, common_prefix
from sft.inference.scoring.scores import LabelScores, ScoreTable
from sft.log import Progress, get_logger, silent
from sft.model.structure import base_of
from sft.model.trial import FAILURES, Trials
from sft.modes import evaluating

logger = get_logger(__name__)

Ids = Sequence[int]
PACKED, ROWS, WHOLE = "prompts and label tree in one sequence", "each label in a row of its own", "whole re-runs"
_told: WeakKeyDictionary[torch.nn.Module, str] = WeakKeyDictionary()  # a model's fallback is told once


def score_labels(
    model: torch.nn.Module,
    prompts: Sequence[Ids],
    labels: Sequence[Ids],
    *,
    end_tokens: int = 1,
    batch_size: BatchSize = "auto",
    progress: Progress = silent,
) -> LabelScores:
    """Score every label after every prompt. The model's mode and config stay as they are.

    The probability of each of two labels, 2 being the end of turn:

        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from sft.inference.classification import score_labels
        >>> from sft.inference.scoring.scores import probabilities
        >>> size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **size))
        >>> scores = score_labels(model, prompts=[[5, 6, 7], [5, 6, 8, 9]], labels=[[11, 2], [11, 12, 2]])
        >>> scores.sum_logprob_NL.shape  # a row for each prompt, in nats
        (2, 2)
        >>> probabilities(scores.scores("sum")).sum(axis=1).round(6).tolist()
        [1.0, 1.0]

    Args:
        model: a transformers causal or encoder-decoder model, or a PEFT model around one; no pad token is needed.
        prompts: N lists of ids, none empty.
        labels: L lists of ids, each with its end of turn.
        end_tokens: how many ids at the end of each label are the end of turn.
        batch_size: prompts in a forward at most, or `"auto"`. Halved when memory runs out.
        progress: told how many prompts (where they are run whole: prompts x labels) are done.

    Returns:
        N x L log-probabilities, whole, of the end of turn and of the first token; `fallback` says why, if they were not
        made the fast way.

    Raises:
        ValueError: an empty prompt, or a label that is empty or shorter than its end of turn.
        ModelError: an encoder-decoder model that names no start token, or whose adapter adds virtual tokens.
    """
    _check(prompts, labels, end_tokens)
    table = ScoreTable(len(prompts), labels, end_tokens)
    if not (prompts and labels):
        return table.scores(None)
    with evaluating(model):
        fallback = _Run(model, prompts, labels, table, batch_size, progress).fill()
    return table.scores(fallback)


class Form(NamedTuple):
    """A way to score.

    Attributes:
        scorer: the class that does it.
        decoder: the model as that class sees it.
        name: for the log and the result; None: the usual way.
        why: why a faster way is not possible; None: only a trial can show it.
    """

    scorer: Any
    decoder: Any
    name: str | None = None
    why: str | None = None

    def text(self, fault: str | None) -> str | None:
        """What the log and the result say of it, where the trial of a faster way found a fault."""
        return self.name and f"{self.name}: {self.why or fault}"


def scoring_forms(model: Any, longest: int) -> list[Form]:
    """The ways that a model seems to allow for texts of `longest` tokens, the fastest first; the last one is exact."""
    decoder = open_decoder(model, longest)
    forms = []
    if decoder.obstacle is None and decoder.apart is None:
        forms.append(Form(PackedScorer, decoder))
    if decoder.obstacle is None:
        forms.append(Form(RowScorer, decoder, ROWS, decoder.apart))
    if decoder.slides:
        # for a model that ignores the window of its config
        full = Decoder(model, longest, windowed=False)
        scorer, name = (PackedScorer, PACKED) if full.apart is None else (RowScorer, ROWS)
        if full.obstacle is None:
            forms.append(Form(scorer, full, f"{name}, without the sliding window of its config", decoder.obstacle))
    return [*forms, Form(WholeScorer, decoder, WHOLE, decoder.obstacle)]


def open_decoder(model: Any, longest: int) -> Decoder | EncoderDecoder:
    """The model as the engine sees it, for texts of up to `longest` tokens."""
    encodes = getattr(base_of(model).config, "is_encoder_decoder", False)
    return EncoderDecoder(model) if encodes else Decoder(model, longest)


@dataclass
class _Run:
    """One call of `score_labels`."""

    model: torch.nn.Module
    prompts: Sequence[Ids]
    labels: Sequence[Ids]
    table: ScoreTable
    batch_size: BatchSize
    progress: Progress

    def __post_init__(self) -> None:
        self._longest = max(map(len, self.prompts)) + max(map(len, self.labels))
        # what a form does with many rows, labels or a shared beginning says nothing of what it does without
        self._shape = len(self.prompts) > 1, len(self.labels) > 1, common_prefix(self.prompts) >= SHORTEST_PREFIX
        self._trials = Trials(self.model)

    def fill(self) -> str | None:
        """Fill the table in the first way that gives what plain forwards give; return what the result says of it."""
        fault: str | None = None
        for form in scoring_forms(self.model, self._longest):
            text = form.text(fault)
            found = self._fault_of(form, text)
            if found is None:
                return text
            fault = fault or found
        raise AssertionError("the last way needs no trial")

    def _fault_of(self, form: Form, text: str | None) -> str | None:
        """Score in one way; what is wrong with it, or None."""
        capacity = Capacity.of(form.decoder.device, self.batch_size)
        scorer = form.scorer(form.decoder, self.prompts, self.labels, self.table, capacity)
        if isinstance(scorer, WholeScorer):
            _tell(self.model, text)
            scorer.run(self.progress)
            return None
        key = form.scorer.__name__, form.decoder.windowed, *self._shape
        tried = self._trials.of(key, self._longest)
        if tried is not None and tried.fault is not None:
            return tried.fault
        trial = LabelTrial(self.model, scorer, wanted=tried is None)
        try:
            scorer.run(self.progress, trial)
        except FAILURES as error:
            if (fault := trial.fault(error)) is None:
                raise
            return self._trials.note(key, self._longest, fault).fault
        if tried is None:
            self._trials.note(key, self._longest)
        _tell(self.model, text)
        return None


def _tell(model: torch.nn.Module, text: str | None) -> None:
    if text is not None and _told.get(model) != text:
        _told[model] = text
        logger.info("Labels are scored by %s. %s", text, "Exact" if text.startswith(PACKED) else "Slower, but exact")


def _check(prompts: Sequence[Ids], labels: Sequence[Ids], end_tokens: int) -> None:
    for row, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"prompt {row} has no ids: there is nothing that a label could follow")
    for index, label in enumerate(labels):
        if len(label) < max(1, end_tokens):
            raise ValueError(f"label {index} has {len(label)} ids, fewer than its end of turn ({end_tokens})")
