"""The data flow of one experiment: data -> prompts -> model -> training -> answers -> metrics.

The commands call `run`, `train`, `predict` and `prompts`; the steps are in `sft/steps`, one file each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sft.config.experiment import Experiment
from sft.config.reading.load import parse_config
from sft.dataset.task import Task, calibration_rows
from sft.errors import UserError
from sft.io import canonical_json, write_atomic
from sft.log import ProgressBars, also_logged, both, get_logger
from sft.model.adapters import check_adapter
from sft.model.resident import Models
from sft.prompting.view import ShownRow
from sft.protocols import Tokenizer
from sft.results.partial import PartialAnswers
from sft.results.recording import recording
from sft.results.schema import RunResult
from sft.results.store import RunFolder
from sft.results.tsv import to_tsv
from sft.steps.adapt import adapt
from sft.steps.answering import answering
from sft.steps.calibrate import draw_sample, score_sample
from sft.steps.evaluate import evaluate
from sft.steps.harness import ask_harness, check_harness, open_harness
from sft.steps.questions import questions
from sft.steps.record import (
    build_result,
    data_columns,
    prediction_columns,
    prompts_record,
    recorded_config,
    shots_record,
)
from sft.steps.setup import prepare
from sft.training.checkpoints import remove_all

log = get_logger(__name__)

CHUNK = 512  # rows that `predict` answers before it saves them


def run(experiment: Experiment, folder: RunFolder, models: Models | None = None) -> RunResult:
    """Train if the experiment has shots, evaluate unless its command is `train`, and write a run folder.

    Args:
        models: the source of the base model, which gets it back; None: load it.
    """
    with also_logged(folder.log_file), recording(folder) as recorded, ProgressBars() as bars:
        progress = both(recorded, bars)
        folder.write_config(recorded_config(experiment))
        setup = prepare(experiment, models)
        sample = draw_sample(setup)  # before the training, so that its errors are reported early
        tasks = open_harness(setup)
        target = folder.model if experiment.trains_whole else folder.adapter
        adapted = adapt(setup, folder.work, _adapter_folder(experiment, target), progress)
        with answering(setup, adapted) as backend:
            sample = score_sample(setup, backend, sample, progress)
            evaluated = {role: evaluate(setup, backend, role, progress, sample) for role in setup.task.evaluated}
            for role, one in evaluated.items():
                folder.write_predictions(prediction_columns(setup, one), role)
                if one.labels is not None:
                    folder.write_scores(one.labels.tensors, role)
            folder.write_shots(shots_record(setup, adapted, evaluated))
            folder.write_prompts(prompts_record(setup, adapted, evaluated))
            asked = ask_harness(setup, backend, tasks, progress)
            result = build_result(setup, adapted, evaluated, asked)
            folder.write_result(result)
            _clear(experiment, folder.work)  # only now: after a failure, training would resume from them
    return result


def train(experiment: Experiment) -> Path:
    """Train and save the adapter, or the whole model. Return its folder."""
    target = _adapter_folder(experiment, Path("checkpoints") / experiment.folder_name)
    work = target / ".checkpoints"
    with ProgressBars() as progress:
        adapt(prepare(experiment), work, target, progress)
    _clear(experiment, work)
    return target


def predict(experiment: Experiment, results_path: Path) -> Path:
    """Write the answers of the test split to a TSV file, chunk by chunk. Resume after the last saved chunk."""
    target = results_path / f"{experiment.folder_name}.tsv"
    if target.exists():
        log.info("Already done")
        return target
    with ProgressBars() as progress:
        setup = prepare(experiment)
        asked = questions(setup, "test", draw_sample(setup))
        partial = PartialAnswers(results_path / f".{experiment.folder_name}.{asked.kind}.jsonl")
        answers = partial.read()
        if answers:
            log.info("Resuming after %d of %d prompts", len(answers), asked.total)
        if len(answers) < asked.total:
            adapted = adapt(setup, results_path, results_path, progress)
            with answering(setup, adapted) as backend:
                while len(answers) < asked.total:
                    more = asked.answer(backend, len(answers), len(answers) + CHUNK, progress)
                    partial.append(more)
                    answers += more
                    log.info("%d of %d prompts", len(answers), asked.total)
    ours = asked.columns(answers)
    write_atomic(target, to_tsv({**data_columns(setup.task.evaluated["test"], ours), **ours}))
    partial.remove()
    return target


def prompts(experiment: Experiment, split: str, count: int) -> tuple[list[ShownRow], Tokenizer]:
    """Return the first prompts for training (`train`) or evaluation (`test`, `validation`), and the tokenizer."""
    setup = prepare(experiment)
    if split == "train":
        return setup.plan.look_at_training(experiment.trains, count), setup.tokenizer
    if split not in setup.task.evaluated:
        raise UserError(f'--split: expected {", ".join(["train", *setup.task.evaluated])}, got "{split}"')
    return setup.plan.look_at_evaluated(split, count), setup.tokenizer


def check_data(request: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Open each distinct data set and tokenizer of several experiments once.

    Return `problems`, the messages by id of the experiments that cannot run; `notes` on the data; and `breakdown`, a
    bug of the check itself, which does not stop other experiments and which the affected experiment shows in full.

    Args:
        request: id -> `{"config": …, "endpoint": …}`.
    """
    opened: dict[str, Task | str | None] = {}
    problems: dict[str, str] = {}
    breakdown, notes = "", dict[str, None]()
    adapters: dict[str, str] = {}
    for run_id, entry in request.items():
        config = parse_config(dict(entry["config"]), run_id, Path())
        experiment = Experiment(run_id, config, config.seed or 0, entry["endpoint"])
        key = canonical_json(_what_preparing_reads(experiment))
        try:
            if key not in opened:
                opened[key] = None  # unless it is opened; a bug is reported once
                opened[key] = _opened(experiment, notes)
            if isinstance(task := opened[key], str):
                raise UserError(task)
            if task is not None:
                _check_shots(replace(task, experiment=experiment), notes)
                if problem := _adapter_problem(experiment, adapters):
                    raise UserError(problem)
        except UserError as error:
            problems[run_id] = str(error)
        except Exception as error:  # the user cannot fix it, so it is reported separately
            breakdown = f"{config.name or run_id}: {type(error).__name__}: {error}"
    return {"problems": problems, "breakdown": breakdown, "notes": list(notes)}


def _what_preparing_reads(experiment: Experiment) -> list[Any]:
    """Return everything that preparation reads: all but the adapter, the trainer, and the draw and number of shots."""
    read: dict[str, Any] = dict.fromkeys(("dataset", "model", "prompting", "inference"), True)
    sections = experiment.config.model_dump(mode="json", include={**read, "evaluation": {"lm_eval"}})
    if not calibration_rows(experiment):  # calibration rows depend on the shots
        sections["dataset"]["shots"] = experiment.config.dataset.shots != 0
    return [experiment.endpoint, sections]


def _opened(experiment: Experiment, notes: dict[str, None]) -> Task | str:
    """Return the data of an experiment, or the one-line error that prevents its start. Adds to `notes`."""
    try:
        setup = prepare(experiment)
        notes |= dict.fromkeys(setup.task.notes())
        for role in setup.task.evaluated:
            setup.plan.first(role)
        draw_sample(setup)
        check_harness(setup)
    except UserError as error:
        return str(error)
    return setup.task


def _adapter_problem(experiment: Experiment, known: dict[str, str]) -> str:
    """Return the one-line problem of an experiment's adapter, or the empty string. Cached in `known`."""
    if not experiment.trains or experiment.trains_whole:
        return ""
    config = experiment.config
    key = canonical_json(config.model_dump(mode="json", include={"model", "lora", "adapter"}))
    if key not in known:
        try:
            check_adapter(config.model, config.lora, config.adapter)
            known[key] = ""
        except UserError as error:
            known[key] = str(error)
    return known[key]


def _check_shots(task: Task, notes: dict[str, None]) -> None:
    """Draw the shots of an experiment whose data is open. Adds to `notes` if there are fewer than requested.

    Raises:
        DataError: there are none, or validation_size leaves none to train on.
    """
    if sentence := task.shortfall():
        notes[sentence] = None
    _ = task.validation_shots


def _clear(experiment: Experiment, work: Path) -> None:
    """Remove the trainer's checkpoints, unless the config keeps them."""
    training = experiment.config.training
    if training is None or not training.keep_checkpoints:
        remove_all(work)


def _adapter_folder(experiment: Experiment, default: Path) -> Path:
    """Return `training.trainer_args.output_dir` if it is set, else the default."""
    training = experiment.config.training
    output_dir = training.trainer_args.get("output_dir") if training is not None else None
    return default if output_dir is None else Path(output_dir)
