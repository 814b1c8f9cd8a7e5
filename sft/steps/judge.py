"""Answer the rows of a split and measure the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sft.dataset.task import LabelledRows
from sft.evaluation.classification import classification_metrics
from sft.evaluation.further import further_metrics
from sft.evaluation.generation import generation_metrics
from sft.inference.answer import LabelAnswers, classify, complete, decide
from sft.inference.batching import Halved
from sft.inference.generation import GenerationSettings
from sft.inference.scores import LabelScores
from sft.log import Progress
from sft.prompting.planned import JudgedPrompts
from sft.steps.setup import Setup

SCORINGS = ("sum", "mean", "first")


@dataclass(frozen=True)
class Judged:
    """A split's answers and what they are worth.

    Args:
        rows: the split.
        prompts: what the model was asked.
        predictions: one text for each row.
        labels: probabilities and scores (classification), else None.
        metrics: by name.
    """

    rows: LabelledRows
    prompts: JudgedPrompts
    predictions: tuple[str, ...]
    labels: LabelAnswers | None
    metrics: Mapping[str, Any]


def judge(setup: Setup, model: Any, role: str, progress: Progress) -> Judged:
    """Answer and measure a split (`test`, `validation`)."""
    with setup.clock("prompts"):
        prompts = setup.plan.judged(role)
    rows = setup.task.judged[role]
    with setup.clock("answer"):
        predictions, labels = answer(setup, model, prompts, progress)
    with setup.clock("metrics"):
        metrics = _metrics(setup, rows.answers, predictions, labels)
    return Judged(rows, prompts, predictions, labels, metrics)


def answer(
    setup: Setup, model: Any, prompts: JudgedPrompts, progress: Progress
) -> tuple[tuple[str, ...], LabelAnswers | None]:
    """The predictions, and for a classification the probabilities and scores behind them."""
    if setup.task.labels is not None:
        labels = classify(model, prompts.labelled, setup.task.labels, setup.inference, progress, setup.halvings)
        return labels.predictions, labels
    _seed_sampling(setup)
    arguments = {key: v for key, v in setup.inference.generation_args.items() if key != "max_new_tokens"}
    settings = GenerationSettings(setup.plan.max_new_tokens, setup.plan.renderer.stop_ids, arguments)
    batch_size = Halved(setup.inference.batch_size, setup.halvings)
    return complete(model, setup.tokenizer, prompts.open, settings, batch_size, progress), None


def _seed_sampling(setup: Setup) -> None:
    """Sampled answers depend on the run's seed alone, not on what training drew."""
    from transformers import set_seed

    set_seed(setup.experiment.seed)


def _metrics(
    setup: Setup, references: Sequence[str], predictions: Sequence[str], labels: LabelAnswers | None
) -> dict[str, Any]:
    evaluation = setup.config.evaluation
    if labels is None or setup.task.labels is None:
        metrics: dict[str, Any] = generation_metrics(references, predictions, segment=_segmenter(setup))
    else:
        metrics = classification_metrics(
            references,
            predictions,
            setup.task.labels,
            labels.probabilities_NL,
            ece_bins=evaluation.ece_bins,
            ece_norm=evaluation.ece_norm,
        )
        metrics["accuracy_by_scoring"] = _accuracy_by_scoring(setup, references, labels.scores)
    return {**metrics, **further_metrics(evaluation.metrics, references, predictions, metrics)}


def _accuracy_by_scoring(setup: Setup, references: Sequence[str], scores: LabelScores) -> dict[str, float]:
    """Accuracy under each way of scoring labels: all come from the same pass."""
    labels = setup.task.labels or ()
    accuracies = {}
    for kind in SCORINGS:
        guesses = decide(scores, labels, setup.inference.model_copy(update={"label_scoring": kind})).predictions
        accuracies[kind] = sum(a == b for a, b in zip(guesses, references, strict=True)) / max(len(references), 1)
    return accuracies


def _segmenter(setup: Setup) -> Callable[[str], list[str]] | None:
    """Word segmentation for BLEU and ROUGE by `evaluation.tokenizer_name`, for languages without spaces."""
    name = setup.config.evaluation.tokenizer_name
    if name is None:
        return None
    from sft.model.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(setup.config.model, name)
    return lambda text: [
        tokenizer.decode([token]).strip() for token in tokenizer.encode(text, add_special_tokens=False)
    ]
