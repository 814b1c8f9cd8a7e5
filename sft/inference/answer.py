"""From prompts to predictions: labels by their exact probability, or generated text. Knows prompts and a loaded model.

Rows whose labels have the same token ids (nearly always all of them) are scored together; where the tokenizer merges
across the border of prompt and answer, a row's labels may differ, and such rows form groups of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft.config.inference import InferenceConfig
from sft.errors import ModelError
from sft.inference.batching import AnyBatchSize, Halved
from sft.inference.classification import score_labels
from sft.inference.generation import GenerationSettings, generate
from sft.inference.scores import LabelScores, probabilities
from sft.log import Progress, silent
from sft.prompting.render import LabelledPrompt, Prompt


@dataclass(frozen=True)
class LabelAnswers:
    """What a model says of the labels of N rows.

    Args:
        predictions: the likeliest label of each row.
        probabilities_NL: softmax of the label scores.
        scores: everything that calibration and other normalisations need.
    """

    predictions: tuple[str, ...]
    probabilities_NL: NDArray[np.float64]
    scores: LabelScores


def classify(
    model: Any,
    prompts: Sequence[LabelledPrompt],
    labels: Sequence[str],
    config: InferenceConfig,
    progress: Progress = silent,
    halvings: int = 0,
) -> LabelAnswers:
    """The label of each prompt with the highest score of the configured kind.

    Args:
        model: a causal language model, or a PEFT model around one.
        prompts: N prompts, each with the token ids of all labels.
        labels: the L labels, in the order of those ids.
        config: batch size and kind of score.
        progress: told of prompts scored.
        halvings: how often memory has run out with that batch size in earlier attempts.
    """
    scores = _score(model, prompts, len(labels), Halved(config.batch_size, halvings), progress)
    return decide(scores, labels, config)


def decide(scores: LabelScores, labels: Sequence[str], config: InferenceConfig) -> LabelAnswers:
    """Predictions and probabilities from label scores: arithmetic only."""
    chosen_NL = scores.scores(config.label_scoring)
    best_N = chosen_NL.argmax(axis=1) if len(chosen_NL) else np.zeros(0, dtype=np.int64)
    return LabelAnswers(tuple(labels[i] for i in best_N), probabilities(chosen_NL), scores)


def _score(
    model: Any, prompts: Sequence[LabelledPrompt], labels: int, batch_size: AnyBatchSize, progress: Progress
) -> LabelScores:
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, prompt in enumerate(prompts):
        key = (prompt.end_tokens, *map(tuple, prompt.label_ids))
        groups.setdefault(key, []).append(row)
    sum_NL, end_NL, first_NL = (np.full((len(prompts), labels), np.nan, dtype=np.float32) for _ in range(3))
    counts_L = np.zeros(labels, dtype=np.int64)
    done = 0
    for rows in groups.values():
        one = prompts[rows[0]]
        part = score_labels(
            model,
            [prompts[row].prompt.ids for row in rows],
            one.label_ids,
            end_tokens=one.end_tokens,
            batch_size=batch_size,
            progress=_part_of(progress, done, len(rows), len(prompts)),
        )
        sum_NL[rows], end_NL[rows], first_NL[rows] = part.sum_logprob_NL, part.end_logprob_NL, part.first_logprob_NL
        counts_L = np.maximum(counts_L, part.token_count_L)
        done += len(rows)
    if not np.isfinite(sum_NL).all():
        raise ModelError(
            "the model's label scores are not numbers: its training went astray (lower "
            "training.trainer_args.learning_rate), or its dtype overflows (set model.model_args.dtype)"
        )
    return LabelScores(sum_NL, end_NL, first_NL, counts_L)


def _part_of(progress: Progress, before: int, rows: int, all_rows: int) -> Progress:
    """Progress of a group of `rows`, told as progress of all."""

    def tell(phase: str, done: int, total: int, note: str = "") -> None:
        progress(phase, before + rows * done // max(total, 1), all_rows, note)

    return tell


def complete(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    settings: GenerationSettings,
    batch_size: AnyBatchSize,
    progress: Progress = silent,
) -> tuple[str, ...]:
    """The generated answer of each prompt as text, without control tokens and surrounding white space.

    Args:
        model: a causal language model, or a PEFT model around one.
        tokenizer: turns the new ids into text.
        prompts: N prompts.
        settings: length, stop ids and further arguments of `generate`.
        batch_size: prompts in a batch, or `"auto"`; halved where memory has run out before.
        progress: told of prompts answered.
    """
    ids = generate(model, [prompt.ids for prompt in prompts], settings, batch_size=batch_size, progress=progress)
    return tuple(tokenizer.decode(one, skip_special_tokens=True).strip() for one in ids)
