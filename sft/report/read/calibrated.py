"""Runs under another calibration: their metrics computed again from stored scores, without a model.

A run that used this calibration keeps its own settings; other runs use the defaults.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sft.calibration.apply import calibrate
from sft.calibration.arithmetic import log_probabilities, probabilities
from sft.calibration.base import Calibrated, Settings
from sft.calibration.stored import SplitScores
from sft.config.sections.inference import InferenceConfig
from sft.config.sections.schema import ExperimentConfig
from sft.errors import UserError
from sft.foreign import plug_paths
from sft.io import canonical_json, digest
from sft.log import get_logger, some
from sft.plugins import CALIBRATIONS, FORMER_CALIBRATIONS
from sft.report.metrics import HARNESS, numbers
from sft.report.read.answers import Answers
from sft.report.read.finished import SPLITS
from sft.report.read.runs import Run
from sft.results.store import OddFileError

log = get_logger(__name__)

NONE = "none"


def calibrated_runs(
    runs: Sequence[Run], name: str, odd: dict[str, str] | None = None, trust: bool = False
) -> list[Run]:
    """Return the runs under a calibration; runs without stored label scores have no metrics and are logged.

    A user's own calibration is imported from the working directory.

    Args:
        runs: runs of a report.
        name: name of a calibration, or `none`.
        trust: whether to run metrics that are code and named only by the records of runs.
        odd: receives the reason, by the run's name, if the scores of a run have been changed.

    Raises:
        UserError: unknown calibration, or no run that it can be applied to.
    """
    name = FORMER_CALIBRATIONS.get(name, name)
    if name != NONE and (trouble := CALIBRATIONS.problem(name)):
        raise UserError(f"--calibration: {trouble}; or use {NONE} for uncalibrated scores")
    plug_paths(Path.cwd())
    reasons: dict[str, list[str]] = {}
    changed = []
    for run in runs:
        try:
            changed.append(run if run.result is None else _calibrated(run, name, trust))
        except UserError as error:
            reasons.setdefault(str(error), []).append(run.name)
            if odd is not None and isinstance(error, OddFileError):
                odd[run.name] = str(error)
            changed.append(replace(run, result=None if run.result is None else replace(run.result, metrics={})))
    code = dict.fromkeys(one for run in runs if not trust for one in run.config.evaluation.metrics if ":" in one)
    if code:
        log.warning(
            "metrics left out under --calibration: %s; they are code named by runs, use --trust to run it",
            some(list(code)),
        )
    if not any(run.metrics() for run in changed):
        raise UserError(f"--calibration {name}: {next(iter(reasons), 'no run has finished')}")
    for reason, names in reasons.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        log.warning("no metrics under --calibration %s for %s%s: %s", name, names[0], more, reason)
    return changed


def _without_code(config: ExperimentConfig) -> ExperimentConfig:
    """Return the config without metrics that are code, since its run folder may come from someone else."""
    kept = tuple(one for one in config.evaluation.metrics if ":" not in one)
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"metrics": kept})})


def _calibrated(run: Run, name: str, trust: bool) -> Run:
    if run.result is None:
        return run
    if not run.config.dataset.task.has_one_label:
        raise UserError(f'answers of task_type "{run.config.dataset.task_type}" have no probabilities to calibrate')
    labels = list(json.loads(run.result.record)["results"]["support"])
    config = run.config if trust else _without_code(run.config)
    split_results = {
        split: metrics_under(name, SplitScores(run.folder.read_scores(split)), config, labels)
        for split in SPLITS
        if run.result.metrics.get(split)
    }
    metrics = {split: numbers(values) for split, values in split_results.items()}
    for split, values in metrics.items():  # metrics of other tasks have no calibration
        values |= {key: value for key, value in run.result.metrics[split].items() if key.startswith(HARNESS)}
    undefined = split_results["test"]["undefined"] if "test" in split_results else {}
    return replace(run, result=replace(run.result, metrics=metrics, undefined=undefined))


def metrics_under(name: str, scored: SplitScores, config: ExperimentConfig, labels: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of a split's stored scores under a calibration or `none`; `undefined` explains missing ones.

    Args:
        name: name of the calibration.
        scored: the scores.
        config: config of their run: kind of score, bins of the calibration error, further metrics.
        labels: labels in the order of the scores' columns.

    Raises:
        UserError: the calibration needs scores that were not stored.
    """
    from sft.evaluation.classification import Probabilities, classification_metrics, undefined_metrics
    from sft.evaluation.further import further_metrics

    calibrated = _probabilities(name, scored, config)
    probabilities_NL = calibrated.probabilities_NL
    references = [labels[column] for column in scored.labels.tolist()]
    predictions = [labels[column] for column in probabilities_NL.argmax(axis=1).tolist()]
    evaluation = config.evaluation
    metrics = classification_metrics(
        references,
        predictions,
        labels,
        Probabilities(probabilities_NL, calibrated.logs_NL),
        ece_bins=evaluation.ece_bins,
        ece_norm=evaluation.ece_norm,
    )
    metrics["undefined"] = undefined_metrics(references, labels, calibrated.logs_NL)
    return {**metrics, **further_metrics(evaluation.metrics, references, predictions, metrics)}


def _probabilities(name: str, scored: SplitScores, config: ExperimentConfig) -> Calibrated:
    inference = config.inference or InferenceConfig()
    if name == NONE:
        scores_NL = scored.scores(inference.label_scoring)
        return Calibrated(probabilities(scores_NL), {}, log_probabilities(scores_NL))
    own = inference.calibration_args
    settings = Settings()
    if own is not None and own.calibration_fn == name:
        settings = Settings(own.num_estimations, own.gamma_range, own.gamma_steps)
    return calibrate(name, scored.evidence(inference.label_scoring, settings))


def merged_runs(runs: Sequence[Run]) -> list[Run]:
    """Merge runs that differ by their calibration only: under another calibration they are the same.

    The calibration is removed from their names. The run without calibration is kept, else the one with the fewest
    labelled examples.
    """
    kept: dict[tuple[str, int], Run] = {}
    recipes: dict[int, str] = {}
    for run in sorted(runs, key=_of_calibration):
        if id(run.config) not in recipes:
            recipes[id(run.config)] = _recipe(run.config)
        recipe = recipes[id(run.config)]
        name = re.sub(r"\s*\bcalibration=\S+", "", run.name).strip() or run.name
        kept.setdefault((recipe, run.seed), replace(run, name=name, recipe_id=run.id if run.is_fixed else recipe))
    order = {run.id: number for number, run in enumerate(runs)}
    return sorted(kept.values(), key=lambda run: order[run.id])


def _of_calibration(run: Run) -> tuple[bool, bool, int]:
    inference = run.config.inference
    labelled = 0 if run.result is None else run.result.labelled_examples
    return not run.metrics(), inference is not None and inference.calibration_args is not None, labelled


def _recipe(config: ExperimentConfig) -> str:
    """Return a key that is equal for configs that differ by their calibration only."""
    data = config.model_dump(mode="json", exclude={"name": True, "seed": True, "inference": {"calibration_args"}})
    return digest(canonical_json(data), 12)


def recalibrated(answers: Answers, run: Run, split: str, name: str) -> Answers:
    """Return the answers under a calibration or `none`.

    Raises:
        UserError: the run has no stored scores.
    """
    if run.result is None or not answers.labels:
        return answers
    name = FORMER_CALIBRATIONS.get(name, name)
    scored = SplitScores(run.folder.read_scores(split))
    calibrated = _probabilities(name, scored, run.config)
    return replace(answers, changed_probabilities_NL=calibrated.probabilities_NL, changed_logs_NL=calibrated.logs_NL)
