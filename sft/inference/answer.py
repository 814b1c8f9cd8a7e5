"""From prompts to predictions: labels by their exact probability, or generated text.

Rows whose labels have the same token ids (nearly always all of them) are scored together. Where the tokenizer merges
tokens across the boundary of prompt and answer, a row's labels may differ; such rows form separate groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft.calibration.apply import calibrate
from sft.calibration.arithmetic import log_probabilities, logarithms, probabilities
from sft.calibration.base import Settings
from sft.calibration.stored import CALIBRATED, LABEL, TRAIN, SplitScores
from sft.config.sections.inference import InferenceConfig
from sft.errors import ModelError
from sft.evaluation.multilabel import DEFAULT_THRESHOLD, best_threshold, set_texts, yes_probabilities
from sft.inference.batching import BatchSize
from sft.inference.classification import score_labels
from sft.inference.generating.engine import GenerationSettings, generate
from sft.inference.scoring.scores import LabelScores
from sft.log import Progress, silent
from sft.prompting.render import LabelledPrompt, Prompt
from sft.protocols import LanguageModel, Tokenizer


@dataclass(frozen=True)
class LabelAnswers:
    """A model's predictions and scores for the labels of N rows.

    Args:
        predictions: the likeliest label of each row, or its set of labels.
        probabilities_NL: softmax of the label scores, calibrated or not; for sets, p(yes) for each label.
        scored: all scores, for other normalisations and calibrations.
        fitted: the fitted parameters of the calibration.
        before: the same answers without calibration; None if there is no calibration.
        log_probabilities_NL: the logarithms of the probabilities, exact where those round to 0 or 1; None for sets.
    """

    predictions: tuple[str, ...]
    probabilities_NL: NDArray[np.float64]
    scored: SplitScores
    fitted: Mapping[str, Any] = field(default_factory=dict)
    before: LabelAnswers | None = None
    log_probabilities_NL: NDArray[np.float64] | None = None

    @property
    def logs_NL(self) -> NDArray[np.float64]:
        """Logarithms of the probabilities, exact if known."""
        known = self.log_probabilities_NL
        return logarithms(self.probabilities_NL) if known is None else known

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Arrays to store: all scores, and the calibrated log-probabilities if there is a calibration."""
        if self.before is None or self.log_probabilities_NL is None:
            return dict(self.scored.tensors)
        return {**self.scored.tensors, CALIBRATED: self.log_probabilities_NL}


def decide(scored: SplitScores, labels: Sequence[str], config: InferenceConfig) -> LabelAnswers:
    """Compute predictions and probabilities from scores, calibrated as the config says. Needs no model.

    Args:
        scored: the scores of a whole split.
        labels: the L labels, in the order of the scores' columns.
        config: kind of score and calibration.

    Raises:
        UserError: the calibration is not possible with these scores.
    """
    scores_NL = scored.scores(config.label_scoring)
    logs_NL = log_probabilities(scores_NL)
    plain = LabelAnswers(best_labels(scores_NL, labels), probabilities(scores_NL), scored, log_probabilities_NL=logs_NL)
    calibration = config.calibration_args
    if calibration is None:
        return plain
    settings = Settings(calibration.num_estimations, calibration.gamma_range, calibration.gamma_steps)
    calibrated = calibrate(calibration.calibration_fn, scored.evidence(config.label_scoring, settings))
    predictions = best_labels(calibrated.probabilities_NL, labels)
    return LabelAnswers(predictions, calibrated.probabilities_NL, scored, calibrated.fitted, plain, calibrated.logs_NL)


def decide_sets(scored: SplitScores, labels: Sequence[str]) -> LabelAnswers:
    """Compute the set of labels of each row: those whose p(yes) reaches a threshold. Needs no model.

    The threshold maximises macro-F1 on the labelled rows in `scored`; without such rows it is 0.5.

    Args:
        scored: the scores of yes and no to each label, C = 2 L columns.
        labels: the L labels.

    Returns:
        Sets of labels as strings, and p(yes) [N, L], whose rows do not sum to one.
    """
    tensors = scored.tensors
    yes_NL, threshold = yes_probabilities(tensors["sum_logprob"]), DEFAULT_THRESHOLD
    if (known := tensors.get(f"{TRAIN}.sum_logprob")) is not None:
        threshold = best_threshold(yes_probabilities(known), tensors[f"{TRAIN}.{LABEL}"].astype(np.bool_))
    return LabelAnswers(set_texts(yes_NL >= threshold, labels), yes_NL, scored, {"threshold": threshold})


def best_labels(scores_NL: NDArray[Any], labels: Sequence[str]) -> tuple[str, ...]:
    """Return the label with the highest score for each row; the first one on ties."""
    return tuple(labels[column] for column in scores_NL.argmax(axis=1)) if len(scores_NL) else ()


def score_prompts(
    model: LanguageModel,
    prompts: Sequence[LabelledPrompt],
    labels: int,
    batch_size: BatchSize = "auto",
    progress: Progress = silent,
) -> LabelScores:
    """Score every label after every prompt.

    Args:
        model: a causal language model, or a PEFT model around one.
        prompts: N prompts, each with the token ids of all labels.
        labels: number of labels.
        batch_size: prompts in a forward, or `"auto"`.
        progress: called with the number of scored prompts.

    Raises:
        ModelError: a score is NaN or infinite.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, prompt in enumerate(prompts):
        key = (prompt.end_tokens, *map(tuple, prompt.label_ids))
        groups.setdefault(key, []).append(row)
    sum_NL, end_NL, first_NL = (np.full((len(prompts), labels), np.nan, dtype=np.float32) for _ in range(3))
    counts_L = np.zeros(labels, dtype=np.int64)
    done, fallback = 0, None
    for rows in groups.values():
        first = prompts[rows[0]]
        part = score_labels(
            model,
            [prompts[row].prompt.ids for row in rows],
            first.label_ids,
            end_tokens=first.end_tokens,
            batch_size=batch_size,
            progress=_part_of(progress, done, len(rows), len(prompts)),
        )
        sum_NL[rows], end_NL[rows], first_NL[rows] = part.sum_logprob_NL, part.end_logprob_NL, part.first_logprob_NL
        counts_L = np.maximum(counts_L, part.token_count_L)
        done, fallback = done + len(rows), fallback or part.fallback
    if not np.isfinite(sum_NL).all():
        raise ModelError(
            "the model's label scores are NaN or infinite: its training diverged (lower "
            "training.trainer_args.learning_rate), or its dtype overflows (set model.model_args.dtype)"
        )
    return LabelScores(sum_NL, end_NL, first_NL, counts_L, fallback)


def _part_of(progress: Progress, before: int, rows: int, all_rows: int) -> Progress:
    """Return a progress for a group of rows that reports the progress over all rows."""

    def report(phase: str, done: int, total: int, note: str = "") -> None:
        progress(phase, before + rows * done // max(total, 1), all_rows, note)

    return report


@dataclass(frozen=True)
class TextAnswers:
    """Generated answers to N prompts.

    Args:
        predictions: the texts.
        logprob_N: log-probability of each answer, its end included, under the unmodified model distribution, in nats.
        tokens_N: number of tokens that `logprob_N` counts.
        cut_short: number of answers that ended before they satisfied `inference.constrain`; None without constraint.
        fallback: the slower way that was used and why, where the model's cache failed a check; else None.
    """

    predictions: tuple[str, ...]
    logprob_N: NDArray[np.float64]
    tokens_N: NDArray[np.int64]
    cut_short: int | None = None
    fallback: str | None = None


def complete(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    settings: GenerationSettings,
    batch_size: BatchSize,
    progress: Progress = silent,
) -> TextAnswers:
    """Generate the answer to each prompt, without control tokens, stop strings and surrounding white space.

    Args:
        model: a causal language model, or a PEFT model around one.
        tokenizer: turns the new ids into text.
        prompts: N prompts.
        settings: length, stop ids and further arguments of `generate`.
        batch_size: prompts in a batch, or `"auto"`.
        progress: called with the number of answered prompts.
    """
    written = generate(model, [prompt.ids for prompt in prompts], settings, batch_size=batch_size, progress=progress)
    return TextAnswers(
        tuple(_text(tokenizer, answer.ids, settings) for answer in written),
        np.array([answer.logprob for answer in written], dtype=np.float64),
        np.array([answer.tokens for answer in written], dtype=np.int64),
        None if settings.constraint is None else sum(not _is_whole(answer.ids, settings) for answer in written),
        next((answer.fallback for answer in written), None),
    )


def _is_whole(ids: list[int], settings: GenerationSettings) -> bool:
    """Whether an answer satisfies the constraint, cut off neither by max_new_tokens nor by a stop string."""
    cut = settings.stop_texts is not None and settings.stop_texts.end(ids) is not None
    return not cut and settings.constraint is not None and settings.constraint.is_met(ids)


def _text(tokenizer: Tokenizer, ids: list[int], settings: GenerationSettings) -> str:
    """Decode the ids, up to the first stop string."""
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    if settings.stop_texts is not None:
        text = settings.stop_texts.cut(text)
    return text.strip()
