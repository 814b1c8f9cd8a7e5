"""Generate the predictions for a split and compute their metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sft.calibration.kinds import KINDS
from sft.calibration.stored import SplitScores
from sft.dataset.task import LabelledRows
from sft.evaluation.classification import Probabilities, classification_metrics, undefined_metrics
from sft.evaluation.further import further_metrics
from sft.evaluation.generation import RowMetrics, Segment, generation_metrics, row_metrics
from sft.evaluation.multilabel import membership, multilabel_metrics
from sft.inference.answer import LabelAnswers, TextAnswers, best_labels, decide, decide_sets
from sft.inference.backends.base import Backend
from sft.inference.generating.criteria import StopTexts
from sft.inference.generating.engine import GenerationSettings
from sft.log import Progress, get_logger
from sft.model.source import quiet
from sft.prompting.prompt import EvaluationPrompts
from sft.steps.calibrate import NO_SAMPLE, LabelledSample, plan_scoring, score_all
from sft.steps.setup import Setup

log = get_logger(__name__)

BEFORE = ("accuracy", "macro_f1", "ece", "brier", "log_loss")  # the metrics reported for uncalibrated labels


@dataclass(frozen=True)
class Evaluated:
    """A split's predictions and metrics.

    Args:
        rows: the split.
        prompts: the prompts of the rows.
        predictions: a string for each row.
        labels: probabilities and scores (classification), else None.
        metrics: by name.
        texts: log-probabilities of the answers (generation), else None.
        sample: the labelled rows that the calibration was fitted on.
        by_row: the metrics that are means over rows, for each row (generation).
    """

    rows: LabelledRows
    prompts: EvaluationPrompts
    predictions: tuple[str, ...]
    labels: LabelAnswers | None
    metrics: Mapping[str, Any]
    texts: TextAnswers | None = None
    sample: LabelledSample = NO_SAMPLE
    by_row: RowMetrics = field(default_factory=dict)


def evaluate(
    setup: Setup, backend: Backend, role: str, progress: Progress, sample: LabelledSample = NO_SAMPLE
) -> Evaluated:
    """Predict and evaluate a split (`test` or `validation`); `sample` is what the calibration is fitted on."""
    with setup.clock("prompts"):
        prompts = setup.plan.evaluated(role)
    rows = setup.task.evaluated[role]
    if setup.task.labels is None:
        with setup.clock("answer"):
            texts = write(setup, backend, prompts, progress)
        with setup.clock("metrics"):
            segment = _segmenter(setup)
            by_row = row_metrics(rows.answers, texts.predictions, segment=segment)
            metrics = _text_metrics(setup, rows.answers, texts, segment, by_row)
        return Evaluated(rows, prompts, texts.predictions, None, metrics, texts, by_row=by_row)
    with setup.clock("prompts"):
        scoring_plan = plan_scoring(setup, role, prompts, sample)
    with setup.clock("answer"):
        scored, fallback = score_all(setup, backend, scoring_plan, progress)
    with setup.clock("metrics"):
        labels = decided(setup, scored)
        metrics = label_metrics(setup, rows.answers, labels)
        metrics["scoring_engine"] = fallback or backend.engine
    return Evaluated(rows, prompts, labels.predictions, labels, metrics, None, sample)


def decided(setup: Setup, scored: SplitScores) -> LabelAnswers:
    """Return predictions and probabilities from the scores of a whole split."""
    labels = setup.task.labels or ()
    return decide_sets(scored, labels) if setup.task.type.takes_several else decide(scored, labels, setup.inference)


def write(setup: Setup, backend: Backend, prompts: EvaluationPrompts, progress: Progress) -> TextAnswers:
    """Generate the answers."""
    _seed_sampling(setup)
    texts = backend.generate(prompts.open, _settings(setup), progress)
    if texts.cut_short:
        log.warning(
            "%d of %d answers ended before they satisfied inference.constrain: at %d tokens (max_new_tokens), or at a "
            "stop string",
            texts.cut_short,
            len(texts.predictions),
            setup.plan.max_new_tokens,
        )
    return texts


def _settings(setup: Setup) -> GenerationSettings:
    """Return the generation settings of the experiment."""
    arguments = {key: v for key, v in setup.inference.generation_args.items() if key != "max_new_tokens"}
    renderer = setup.plan.renderer
    stops = dict.fromkeys(setup.inference.stop_strings)
    if not any(setup.tokenizer.decode([token]) in renderer.end_of_turn for token in renderer.stop_ids):
        stops[renderer.end_of_turn] = None  # several tokens, so no stop id
    stops.pop("", None)
    texts = StopTexts(tuple(stops), setup.tokenizer.decode) if stops else None
    return GenerationSettings(
        setup.plan.max_new_tokens, renderer.stop_ids, arguments, stop_texts=texts, constraint=setup.constraint
    )


def _seed_sampling(setup: Setup) -> None:
    """Seed the generators, so that sampled answers depend on the run's seed alone, not on the training."""
    with quiet():  # it imports peft, which imports bitsandbytes, which logs messages about kernels
        from transformers import set_seed

    set_seed(setup.experiment.seed)


def _text_metrics(
    setup: Setup, references: Sequence[str], texts: TextAnswers, segment: Segment | None, by_row: RowMetrics
) -> dict[str, Any]:
    metrics: dict[str, Any] = generation_metrics(references, texts.predictions, segment=segment, rows=by_row)
    metrics |= further_metrics(setup.config.evaluation.metrics, references, texts.predictions, metrics)
    if texts.cut_short is not None:
        metrics["unfinished_answers"] = texts.cut_short
    if texts.fallback is not None:
        metrics["generation_engine"] = texts.fallback
    return metrics


def label_metrics(setup: Setup, references: Sequence[str], labels: LabelAnswers) -> dict[str, Any]:
    """Return the metrics of labels; with calibration, also its parameters and some metrics without it."""
    if setup.task.type.takes_several:
        return _of_sets(setup, references, labels)
    metrics = _of_labels(setup, references, labels)
    if reasons := undefined_metrics(references, setup.task.labels or (), labels.logs_NL):
        metrics["undefined"] = reasons
    metrics["accuracy_by_scoring"] = _accuracy_by_scoring(setup, references, labels.scored)
    calibration = setup.inference.calibration_args
    if calibration is not None and labels.before is not None:
        metrics["calibration"] = {"calibration_fn": calibration.calibration_fn, **labels.fitted}
        before = _of_labels(setup, references, labels.before)
        metrics["uncalibrated"] = {name: before[name] for name in BEFORE}
    names = setup.config.evaluation.metrics
    return {**metrics, **further_metrics(names, references, labels.predictions, metrics)}


def _of_sets(setup: Setup, references: Sequence[str], answers: LabelAnswers) -> dict[str, Any]:
    labels = setup.task.labels or ()
    truth_NL, predicted_NL = membership(references, labels), membership(answers.predictions, labels)
    metrics = {**multilabel_metrics(truth_NL, predicted_NL, labels), **answers.fitted}
    names = setup.config.evaluation.metrics
    return {**metrics, **further_metrics(names, references, answers.predictions, metrics)}


def _of_labels(setup: Setup, references: Sequence[str], labels: LabelAnswers) -> dict[str, Any]:
    evaluation = setup.config.evaluation
    return classification_metrics(
        references,
        labels.predictions,
        setup.task.labels or (),
        Probabilities(labels.probabilities_NL, labels.logs_NL),
        ece_bins=evaluation.ece_bins,
        ece_norm=evaluation.ece_norm,
    )


def _accuracy_by_scoring(setup: Setup, references: Sequence[str], scored: SplitScores) -> dict[str, float]:
    """Return the uncalibrated accuracy of each label scoring, the configured one first. All use the same scores."""
    leading = setup.inference.label_scoring
    accuracies: dict[str, float] = {}
    for kind in (leading, *(kind for kind in KINDS if kind != leading)):
        guesses = best_labels(scored.scores(kind), setup.task.labels or ())
        accuracies[kind] = sum(a == b for a, b in zip(guesses, references, strict=True)) / max(len(references), 1)
    return accuracies


def _segmenter(setup: Setup) -> Segment | None:
    """Return the word segmentation for BLEU and ROUGE by `evaluation.tokenizer_name`, for languages without spaces."""
    name = setup.config.evaluation.tokenizer_name
    if name is None:
        return None
    from sft.model.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(setup.config.model, name)
    return lambda text: [
        tokenizer.decode([token]).strip() for token in tokenizer.encode(text, add_special_tokens=False)
    ]
