"""Runs as they would be with another calibration: their metrics made anew from the scores that they stored. No model.

A run's own settings of that calibration are kept, where it has some; other runs have its defaults.
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
    """The runs, those with stored label scores with other metrics; the others, named in the log, without any.

    A user's own calibration is looked for in the working directory.

    Args:
        runs: of a report.
        name: of a calibration, or `none`.
        trust: run metrics that are code and named by nothing but the records of runs, too.
        odd: gets the reason, by the run's name, where a run's scores are not those that it has written.

    Raises:
        UserError: no such calibration, or no run that it can be applied to.
    """
    name = FORMER_CALIBRATIONS.get(name, name)
    if name != NONE and (trouble := CALIBRATIONS.problem(name)):
        raise UserError(f"--calibration: {trouble}; {NONE}: the scores as they are")
    plug_paths(Path.cwd())
    reasons: dict[str, list[str]] = {}
    found = []
    for run in runs:
        try:
            found.append(run if run.result is None else _calibrated(run, name, trust))
        except UserError as error:
            reasons.setdefault(str(error), []).append(run.name)
            if odd is not None and isinstance(error, OddFileError):
                odd[run.name] = str(error)
            found.append(replace(run, result=None if run.result is None else replace(run.result, metrics={})))
    code = dict.fromkeys(one for run in runs if not trust for one in run.config.evaluation.metrics if ":" in one)
    if code:
        log.warning("Left out under --calibration: %s. Runs name this code; --trust runs it", some(list(code)))
    if not any(run.metrics() for run in found):
        raise UserError(f"--calibration {name}: {next(iter(reasons), 'no run has finished')}")
    for reason, names in reasons.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        log.warning("Without figures under --calibration %s: %s%s (%s)", name, names[0], more, reason)
    return found


def _without_code(config: ExperimentConfig) -> ExperimentConfig:
    """A config without metrics that are code: the folder of its run may come from somebody else."""
    kept = tuple(one for one in config.evaluation.metrics if ":" not in one)
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"metrics": kept})})


def _calibrated(run: Run, name: str, trust: bool) -> Run:
    if run.result is None:
        return run
    if not run.config.dataset.task.has_one_label:
        raise UserError(f'answers of task_type "{run.config.dataset.task_type}" have no probabilities to calibrate')
    labels = list(json.loads(run.result.record)["results"]["support"])
    config = run.config if trust else _without_code(run.config)
    made = {
        split: metrics_under(name, SplitScores(run.folder.read_scores(split)), config, labels)
        for split in SPLITS
        if run.result.metrics.get(split)
    }
    metrics = {split: numbers(values) for split, values in made.items()}
    for split, values in metrics.items():  # what other tasks gave has no calibration
        values |= {key: value for key, value in run.result.metrics[split].items() if key.startswith(HARNESS)}
    undefined = made["test"]["undefined"] if "test" in made else {}
    return replace(run, result=replace(run.result, metrics=metrics, undefined=undefined))


def metrics_under(name: str, scored: SplitScores, config: ExperimentConfig, labels: Sequence[str]) -> dict[str, Any]:
    """The metrics of a split's stored scores under a calibration, or `none`; `undefined` says why some are None.

    Args:
        name: of the calibration.
        scored: the scores.
        config: of the run that made them: kind of score, bins of the calibration error, further metrics.
        labels: in the order of the scores' columns.

    Raises:
        UserError: the calibration needs scores that were not made.
    """
    from sft.evaluation.classification import Probabilities, classification_metrics, undefined_metrics
    from sft.evaluation.further import further_metrics

    calibrated = _probabilities(name, scored, config)
    found_NL = calibrated.probabilities_NL
    references = [labels[column] for column in scored.labels.tolist()]
    predictions = [labels[column] for column in found_NL.argmax(axis=1).tolist()]
    evaluation = config.evaluation
    metrics = classification_metrics(
        references,
        predictions,
        labels,
        Probabilities(found_NL, calibrated.logs_NL),
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
    """The runs, once each of those that differ by their calibration only: under another one they are the same.

    Their names say nothing of a calibration any more. Of each, the one without calibration counts, or that with the
    fewest labelled examples.
    """
    kept: dict[tuple[str, int], Run] = {}
    recipes: dict[int, str] = {}
    for run in sorted(runs, key=_of_calibration):
        if id(run.config) not in recipes:
            recipes[id(run.config)] = _recipe(run.config)
        recipe = recipes[id(run.config)]
        name = re.sub(r"\s*\bcalibration=\S+", "", run.name).strip() or run.name
        kept.setdefault((recipe, run.seed), replace(run, name=name, recipe_id=run.id if run.is_fixed else recipe))
    order = {run.id: place for place, run in enumerate(runs)}
    return sorted(kept.values(), key=lambda run: order[run.id])


def _of_calibration(run: Run) -> tuple[bool, bool, int]:
    inference = run.config.inference
    labelled = 0 if run.result is None else run.result.labelled_examples
    return not run.metrics(), inference is not None and inference.calibration_args is not None, labelled


def _recipe(config: ExperimentConfig) -> str:
    """Equal for configs that differ by their calibration only."""
    data = config.model_dump(mode="json", exclude={"name": True, "seed": True, "inference": {"calibration_args"}})
    return digest(canonical_json(data), 12)


def recalibrated(answers: Answers, run: Run, split: str, name: str) -> Answers:
    """The answers as they would be under a calibration, or `none`.

    Raises:
        UserError: the run lacks the scores.
    """
    if run.result is None or not answers.labels:
        return answers
    name = FORMER_CALIBRATIONS.get(name, name)
    scored = SplitScores(run.folder.read_scores(split))
    found = _probabilities(name, scored, run.config)
    return replace(answers, changed_probabilities_NL=found.probabilities_NL, changed_logs_NL=found.logs_NL)
