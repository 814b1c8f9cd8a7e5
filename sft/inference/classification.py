"""Exact log-probabilities of labels after prompts, from ids to `LabelScores`.

Every score is an fp32 log-softmax at the position BEFORE the scored token. The shared prefix of all prompts is read
once. Prompts and labels are packed into one sequence, the labels as a tree (`scoring/packed_scorer.py`). If a model's
attention takes no custom mask, each label is scored in a row of its own. If its cache cannot be continued, prompt and
label are run whole (`scoring/fallback_scorers.py`): slower, but equally exact. A trial on rows of the run checks that
the model computes what its config and signature promise (`label_trial.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

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
from sft.protocols import LanguageModel

logger = get_logger(__name__)

Ids = Sequence[int]
PACKED, ROWS, WHOLE = "prompts and label tree in one sequence", "each label in a row of its own", "whole re-runs"
_logged: WeakKeyDictionary[LanguageModel, str] = WeakKeyDictionary()  # each fallback of a model is logged once


def score_labels(
    model: LanguageModel,
    prompts: Sequence[Ids],
    labels: Sequence[Ids],
    *,
    end_tokens: int = 1,
    batch_size: BatchSize = "auto",
    progress: Progress = silent,
) -> LabelScores:
    """Score every label after every prompt. The model's mode and config stay as they are.

    The probability of each of two labels, where id 2 is the end of turn:

        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from sft.inference.classification import score_labels
        >>> from sft.inference.scoring.scores import probabilities
        >>> size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **size))
        >>> scores = score_labels(model, prompts=[[5, 6, 7], [5, 6, 8, 9]], labels=[[11, 2], [11, 12, 2]])
        >>> scores.sum_logprob_NL.shape  # one row per prompt, in nats
        (2, 2)
        >>> probabilities(scores.scores("sum")).sum(axis=1).round(6).tolist()
        [1.0, 1.0]

    Args:
        model: a transformers causal or encoder-decoder model, or a PEFT model around one; no pad token is needed.
        prompts: N lists of ids, none empty.
        labels: L lists of ids, each with its end of turn.
        end_tokens: number of ids at the end of each label that are the end of turn.
        batch_size: maximum number of prompts in a forward, or `"auto"`. Halved when memory runs out.
        progress: called with the number of finished prompts (pairs of prompt and label, if they are run whole).

    Returns:
        N x L log-probabilities of the whole label, its end of turn and its first token; `fallback` gives the reason if
        the fast way was not used.

    Raises:
        ValueError: a prompt is empty, or a label is empty or shorter than its end of turn.
        ModelError: an encoder-decoder model has no start token, or its adapter adds virtual tokens.
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
        scorer: the class of the scorer.
        decoder: the model, wrapped for that class.
        name: name for the log and the result; None for the usual way.
        why: why a faster way is not possible; None if only a trial can show it.
    """

    scorer: Any
    decoder: Any
    name: str | None = None
    why: str | None = None

    def text(self, fault: str | None) -> str | None:
        """Return the text for the log and the result, given the fault that the trial of a faster way found."""
        return self.name and f"{self.name}: {self.why or fault}"


def scoring_forms(model: LanguageModel, longest: int) -> list[Form]:
    """Return the ways to score texts of `longest` tokens, the fastest first; the last one is always exact."""
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


def open_decoder(model: LanguageModel, longest: int) -> Decoder | EncoderDecoder:
    """Wrap the model for the scorers, for texts of up to `longest` tokens."""
    encodes = getattr(base_of(model).config, "is_encoder_decoder", False)
    return EncoderDecoder(model) if encodes else Decoder(model, longest)


@dataclass
class _Run:
    """One call of `score_labels`."""

    model: LanguageModel
    prompts: Sequence[Ids]
    labels: Sequence[Ids]
    table: ScoreTable
    batch_size: BatchSize
    progress: Progress

    def __post_init__(self) -> None:
        self._longest = max(map(len, self.prompts)) + max(map(len, self.labels))
        # a trial with many rows, labels or a shared prefix does not cover the case without them
        self._shape = len(self.prompts) > 1, len(self.labels) > 1, common_prefix(self.prompts) >= SHORTEST_PREFIX
        self._trials = Trials(self.model)

    def fill(self) -> str | None:
        """Fill the table in the first way that agrees with plain forwards; return its text for the result."""
        fault: str | None = None
        for form in scoring_forms(self.model, self._longest):
            text = form.text(fault)
            fault_of_form = self._score(form, text)
            if fault_of_form is None:
                return text
            fault = fault or fault_of_form
        raise AssertionError("the last way needs no trial")

    def _score(self, form: Form, text: str | None) -> str | None:
        """Score in one way; return its fault, or None."""
        capacity = Capacity.of(form.decoder.device, self.batch_size)
        scorer = form.scorer(form.decoder, self.prompts, self.labels, self.table, capacity)
        if isinstance(scorer, WholeScorer):
            _log_once(self.model, text)
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
        _log_once(self.model, text)
        return None


def _log_once(model: LanguageModel, text: str | None) -> None:
    if text is not None and _logged.get(model) != text:
        _logged[model] = text
        logger.info("Labels are scored by %s. %s", text, "Exact" if text.startswith(PACKED) else "Slower, but exact")


def _check(prompts: Sequence[Ids], labels: Sequence[Ids], end_tokens: int) -> None:
    for row, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"prompt {row} is empty; expected at least one id")
    for index, label in enumerate(labels):
        if len(label) < max(1, end_tokens):
            raise ValueError(
                f"label {index} has {len(label)} ids; expected at least {max(1, end_tokens)}, its end of turn included"
            )
