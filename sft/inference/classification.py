"""Exact log-probabilities of labels after prompts: ids in, `LabelScores` out. No configs, tokenizers or data sets.

Every score is log-softmax, in fp32, at the position BEFORE the scored token. What all prompts begin with is read once
for all; prompts and the labels after them lie side by side in one sequence, the labels packed into a tree
(`packed.py`). Where a model's attention cannot be told who sees whom, each label stands in a row of its own, and where
its cache cannot be continued at all, prompt and label are run whole (`rows.py`): slower, and just as exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch

from sft.inference.batching import AnyBatchSize, Capacity
from sft.inference.decoder import Decoder, evaluating
from sft.inference.encoder_decoder import EncoderDecoder
from sft.inference.packed import PackedScorer
from sft.inference.rows import RowScorer, WholeScorer
from sft.inference.scores import LabelScores
from sft.inference.table import ScoreTable
from sft.log import Progress, get_logger, silent

logger = get_logger(__name__)

Ids = Sequence[int]
_told: WeakKeyDictionary[torch.nn.Module, str] = WeakKeyDictionary()  # a model's fallback is told once


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

    The probability of each of two labels, 2 being the end of turn:

        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from sft.inference.classification import score_labels
        >>> from sft.inference.scores import probabilities
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
        decoder = open_decoder(model, max(map(len, prompts)) + max(map(len, labels)))
        scorer, fallback = choose_scorer(decoder)
        _tell(model, fallback)
        scorer(decoder, prompts, labels, table, Capacity.of(decoder.device, batch_size)).run(progress)
    return table.scores(fallback)


def open_decoder(model: Any, longest: int) -> Decoder | EncoderDecoder:
    """The model as the engine sees it, for texts of up to `longest` tokens."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return EncoderDecoder(model) if getattr(base.config, "is_encoder_decoder", False) else Decoder(model, longest)


def choose_scorer(decoder: Any) -> tuple[Any, str | None]:
    """The fastest exact way that the model allows, and, if that is not the fast one, which it is and why."""
    if decoder.obstacle is not None:
        return WholeScorer, f"whole re-runs: {decoder.obstacle}"
    if decoder.apart is not None:
        return RowScorer, f"each label in a row of its own: {decoder.apart}"
    return PackedScorer, None


def _tell(model: torch.nn.Module, fallback: str | None) -> None:
    if fallback is not None and _told.get(model) != fallback:
        _told[model] = fallback
        logger.info("Labels are scored by %s. Slower, but exact", fallback)


def _check(prompts: Sequence[Ids], labels: Sequence[Ids], end_tokens: int) -> None:
    for row, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"prompt {row} has no ids: there is nothing that a label could follow")
    for index, label in enumerate(labels):
        if len(label) < max(1, end_tokens):
            raise ValueError(f"label {index} has {len(label)} ids, fewer than its end of turn ({end_tokens})")
