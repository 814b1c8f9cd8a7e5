"""The whole data flow of one experiment, on one screen: data -> prompts -> model -> training -> answers -> metrics.

`run`, `train`, `predict` and `prompts` are what the commands call; the steps lie in `sft/steps`, one file each.
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

CHUNK = 512  # rows that `predict` answers before it makes them durable


def run(experiment: Experiment, folder: RunFolder, models: Models | None = None) -> RunResult:
    """Train when the experiment has shots, judge unless its command is `train`, and leave a run folder.

    Args:
        models: where the base model comes from, and goes back to; None: loaded anew.
    """
    with also_logged(folder.log_file), recording(folder) as recorded, ProgressBars() as bars:
        progress = both(recorded, bars)
        folder.write_config(recorded_config(experiment))
        setup = prepare(experiment, models)
        sample = draw_sample(setup)  # before the training: what is wrong with it is said early
        tasks = open_harness(setup)
        place = folder.model if experiment.trains_whole else folder.adapter
        adapted = adapt(setup, folder.work, _adapter_place(experiment, place), progress)
        with answering(setup, adapted) as backend:
            sample = score_sample(setup, backend, sample, progress)
            evaluated = {role: evaluate(setup, backend, role, progress, sample) for role in setup.task.judged}
            for role, one in evaluated.items():
                folder.write_predictions(prediction_columns(setup, one), role)
                if one.labels is not None:
                    folder.write_scores(one.labels.tensors, role)
            folder.write_shots(shots_record(setup, adapted, evaluated))
            folder.write_prompts(prompts_record(setup, adapted, evaluated))
            asked = ask_harness(setup, backend, tasks, progress)
            result = build_result(setup, adapted, evaluated, asked)
            folder.write_result(result)
            _clear(experiment, folder.work)  # not sooner: had anything failed, training would go on from them
    return result


def train(experiment: Experiment) -> Path:
    """Train and save the adapter, or the whole model; its folder."""
    place = _adapter_place(experiment, Path("checkpoints") / experiment.folder_name)
    work = place / ".checkpoints"
    with ProgressBars() as progress:
        adapt(prepare(experiment), work, place, progress)
    _clear(experiment, work)
    return place


def predict(experiment: Experiment, results_path: Path) -> Path:
    """Answer the test split into a TSV file, a chunk of rows at a time; resumes after the last durable chunk."""
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
    write_atomic(target, to_tsv({**data_columns(setup.task.judged["test"], ours), **ours}))
    partial.remove()
    return target


def prompts(experiment: Experiment, split: str, count: int) -> tuple[list[ShownRow], Any]:
    """The first prompts of a split, as trained on (`train`) or as judged (`test`, `validation`); and the tokenizer."""
    setup = prepare(experiment)
    if split == "train":
        return setup.plan.look_at_training(experiment.trains, count), setup.tokenizer
    if split not in setup.task.judged:
        raise UserError(f'--split "{split}": there is {", ".join(["train", *setup.task.judged])}')
    return setup.plan.look_at_judged(split, count), setup.tokenizer


def check_data(request: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Open each distinct data set and tokenizer of some experiments once.

    Returns `problems`, what is wrong, by id, for those that cannot run; `notes`, what is worth knowing of the data; and
    `breakdown`, what the check itself stumbled over: a bug, which keeps no other experiment waiting, and which the
    experiment that meets it will show in full.

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
                if trouble := _adapter_trouble(experiment, adapters):
                    raise UserError(trouble)
        except UserError as error:
            problems[run_id] = str(error)
        except Exception as error:  # not the user's to mend, so said apart from what is
            breakdown = f"{config.name or run_id}: {type(error).__name__}: {error}"
    return {"problems": problems, "breakdown": breakdown, "notes": list(notes)}


def _what_preparing_reads(experiment: Experiment) -> list[Any]:
    """All but the adapter, the trainer, and which and how many shots: those do not keep it from starting."""
    read: dict[str, Any] = dict.fromkeys(("dataset", "model", "prompting", "inference"), True)
    sections = experiment.config.model_dump(mode="json", include={**read, "evaluation": {"lm_eval"}})
    if not calibration_rows(experiment):  # which are what the shots leave
        sections["dataset"]["shots"] = experiment.config.dataset.shots != 0
    return [experiment.endpoint, sections]


def _opened(experiment: Experiment, notes: dict[str, None]) -> Task | str:
    """The data of an experiment, or what keeps it from starting, in one line. Adds to `notes`."""
    try:
        setup = prepare(experiment)
        notes |= dict.fromkeys(setup.task.notes())
        for role in setup.task.judged:
            setup.plan.first(role)
        draw_sample(setup)
        check_harness(setup)
    except UserError as error:
        return str(error)
    return setup.task


def _adapter_trouble(experiment: Experiment, known: dict[str, str]) -> str:
    """What is wrong with the adapter that an experiment trains, in one line; else empty. Remembered in `known`."""
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
    """Draw the shots of an experiment whose data is open. Adds to `notes` where there are fewer than asked for.

    Raises:
        DataError: there are none, or validation_size leaves none to train on.
    """
    if sentence := task.shortfall():
        notes[sentence] = None
    _ = task.validation_shots


def _clear(experiment: Experiment, work: Path) -> None:
    """Remove the trainer's checkpoints, unless the config wants them kept."""
    training = experiment.config.training
    if training is None or not training.keep_checkpoints:
        remove_all(work)


def _adapter_place(experiment: Experiment, default: Path) -> Path:
    """`training.trainer_args.output_dir` where it is given."""
    training = experiment.config.training
    given = training.trainer_args.get("output_dir") if training is not None else None
    return default if given is None else Path(given)
