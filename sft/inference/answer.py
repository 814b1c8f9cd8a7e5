"""From prompts to predictions: labels by their exact probability, or generated text. Knows prompts and a loaded model.

Rows whose labels have the same token ids (nearly always all of them) are scored together; where the tokenizer merges
across the border of prompt and answer, a row's labels may differ, and such rows form groups of their own.
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


@dataclass(frozen=True)
class LabelAnswers:
    """What a model says of the labels of N rows.

    Args:
        predictions: the likeliest label of each row, or its set of labels.
        probabilities_NL: softmax of the label scores, or what a calibration made of them; of sets p(yes) to each label.
        scored: everything that was scored, for other normalisations and calibrations.
        fitted: what the calibration estimated on the way.
        before: the same without the calibration; None where there is none.
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
        """The logarithms of the probabilities, by the best that is known of them."""
        known = self.log_probabilities_NL
        return logarithms(self.probabilities_NL) if known is None else known

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """What is stored: all scores, and the calibrated log-probabilities where there is a calibration."""
        if self.before is None or self.log_probabilities_NL is None:
            return dict(self.scored.tensors)
        return {**self.scored.tensors, CALIBRATED: self.log_probabilities_NL}


def decide(scored: SplitScores, labels: Sequence[str], config: InferenceConfig) -> LabelAnswers:
    """Predictions and probabilities from scores, calibrated as the config says: arithmetic only.

    Args:
        scored: the scores of a whole split.
        labels: the L labels, in the order of the scores' columns.
        config: kind of score and calibration.

    Raises:
        UserError: a calibration that is not possible with these scores.
    """
    scores_NL = scored.scores(config.label_scoring)
    logs_NL = log_probabilities(scores_NL)
    plain = LabelAnswers(best_labels(scores_NL, labels), probabilities(scores_NL), scored, log_probabilities_NL=logs_NL)
    given = config.calibration_args
    if given is None:
        return plain
    settings = Settings(given.num_estimations, given.gamma_range, given.gamma_steps)
    found = calibrate(given.calibration_fn, scored.evidence(config.label_scoring, settings))
    predictions = best_labels(found.probabilities_NL, labels)
    return LabelAnswers(predictions, found.probabilities_NL, scored, found.fitted, plain, found.logs_NL)


def decide_sets(scored: SplitScores, labels: Sequence[str]) -> LabelAnswers:
    """The labels that apply to each row: those whose yes is likely enough; arithmetic only.

    The threshold is the best in macro-F1 on the labelled rows that were scored with them, else 0.5.

    Args:
        scored: the scores of yes and no to each label, C = 2 L columns.
        labels: the L labels.

    Returns:
        Sets of labels as text, and p(yes) [N, L]: the rows do not sum to one.
    """
    tensors = scored.tensors
    yes_NL, threshold = yes_probabilities(tensors["sum_logprob"]), DEFAULT_THRESHOLD
    if (known := tensors.get(f"{TRAIN}.sum_logprob")) is not None:
        threshold = best_threshold(yes_probabilities(known), tensors[f"{TRAIN}.{LABEL}"].astype(np.bool_))
    return LabelAnswers(set_texts(yes_NL >= threshold, labels), yes_NL, scored, {"threshold": threshold})


def best_labels(scores_NL: NDArray[Any], labels: Sequence[str]) -> tuple[str, ...]:
    """The label with the highest score of each row; of equal ones the first."""
    return tuple(labels[column] for column in scores_NL.argmax(axis=1)) if len(scores_NL) else ()


def score_prompts(
    model: Any,
    prompts: Sequence[LabelledPrompt],
    labels: int,
    batch_size: BatchSize = "auto",
    progress: Progress = silent,
) -> LabelScores:
    """The scores of every label after every prompt.

    Args:
        model: a causal language model, or a PEFT model around one.
        prompts: N prompts, each with the token ids of all labels.
        labels: how many labels there are.
        batch_size: prompts in a forward, or `"auto"`.
        progress: told of prompts scored.

    Raises:
        ModelError: scores that are not numbers.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, prompt in enumerate(prompts):
        key = (prompt.end_tokens, *map(tuple, prompt.label_ids))
        groups.setdefault(key, []).append(row)
    sum_NL, end_NL, first_NL = (np.full((len(prompts), labels), np.nan, dtype=np.float32) for _ in range(3))
    counts_L = np.zeros(labels, dtype=np.int64)
    done, fallback = 0, None
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
        done, fallback = done + len(rows), fallback or part.fallback
    if not np.isfinite(sum_NL).all():
        raise ModelError(
            "the model's label scores are not numbers: its training went astray (lower "
            "training.trainer_args.learning_rate), or its dtype overflows (set model.model_args.dtype)"
        )
    return LabelScores(sum_NL, end_NL, first_NL, counts_L, fallback)


def _part_of(progress: Progress, before: int, rows: int, all_rows: int) -> Progress:
    """Progress of a group of `rows`, told as progress of all."""

    def tell(phase: str, done: int, total: int, note: str = "") -> None:
        progress(phase, before + rows * done // max(total, 1), all_rows, note)

    return tell


@dataclass(frozen=True)
class TextAnswers:
    """What a model wrote for N prompts.

    Args:
        predictions: the texts.
        logprob_N: log-probability of each answer with what ended it, under the model's own distribution, in nats.
        tokens_N: how many ids that is.
        cut_short: how many answers ended before they met `inference.constrain`; None where nothing constrains them.
        fallback: how they were made where the model's cache is not what its config promises, and why, else None.
    """

    predictions: tuple[str, ...]
    logprob_N: NDArray[np.float64]
    tokens_N: NDArray[np.int64]
    cut_short: int | None = None
    fallback: str | None = None


def complete(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    settings: GenerationSettings,
    batch_size: BatchSize,
    progress: Progress = silent,
) -> TextAnswers:
    """The generated answer of each prompt, its text without control tokens, stop texts and surrounding white space.

    Args:
        model: a causal language model, or a PEFT model around one.
        tokenizer: turns the new ids into text.
        prompts: N prompts.
        settings: length, stop ids and further arguments of `generate`.
        batch_size: prompts in a batch, or `"auto"`.
        progress: told of prompts answered.
    """
    written = generate(model, [prompt.ids for prompt in prompts], settings, batch_size=batch_size, progress=progress)
    return TextAnswers(
        tuple(_text(tokenizer, one.ids, settings) for one in written),
        np.array([one.logprob for one in written], dtype=np.float64),
        np.array([one.tokens for one in written], dtype=np.int64),
        None if settings.constraint is None else sum(not _is_whole(one.ids, settings) for one in written),
        next((one.fallback for one in written), None),
    )


def _is_whole(ids: Sequence[int], settings: GenerationSettings) -> bool:
    """Whether an answer is all that the constraint asks for: neither the last token nor a stop text cut it."""
    cut = settings.stop_texts is not None and settings.stop_texts.end(ids) is not None
    return not cut and settings.constraint is not None and settings.constraint.is_met(ids)


def _text(tokenizer: Any, ids: Sequence[int], settings: GenerationSettings) -> str:
    """What the ids say, up to the first stop text."""
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    if settings.stop_texts is not None:
        text = settings.stop_texts.cut(text)
    return text.strip()
