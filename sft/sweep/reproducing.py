"""Run a finished run again, from its recorded config and seed, in a process and a results folder of its own.

Nothing of the run that was is touched: neither its folder nor where its adapter went to. Whether the two agree is for
`sft.report.pairs.agreement` to say.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, cast

from sft.config.checking.checks import section, value_at
from sft.config.clock import may_read_clock
from sft.config.experiment import Experiment
from sft.config.identity import ID_VERSION, data_content
from sft.config.reading.load import parse_config
from sft.config.reading.paths import PATH_FIELDS
from sft.config.sections.lm_eval import LM_EVAL
from sft.config.sections.schema import Endpoint
from sft.errors import UserError
from sft.foreign import plug_paths
from sft.io import shipped_root
from sft.launchers.local.spawn import watched
from sft.log import plain
from sft.model.source import trusts_remote_code
from sft.plugins import PLUGIN_SETTINGS
from sft.report.read.find import results_folder
from sft.results.locks import RunBusyError
from sft.results.schema import RunResult
from sft.results.store import RUNS, ResultStore, RunFolder
from sft.secrets import PLACEHOLDER
from sft.sweep.child import ended_with_us
from sft.sweep.processes import path_argument
from sft.threads import thread_variables

EARLIER = "earlier"  # where reproductions go that are made once more
SECONDS_TO_ASK = 0.1  # more than none: the marker of a dead host is then watched and taken over
# Arguments of the trainer by which the original would be overwritten, or something be told elsewhere.
_GOES_ELSEWHERE = re.compile(r"output_dir|push_to_hub.*|hub_.*|report_to|run_name|project|trackio_.*")


@dataclass(frozen=True)
class Recorded:
    """A finished run, and the experiment that its record gives here and now.

    Args:
        folder: where it lies.
        result: what came of it.
        config: what is run, as JSON.
        experiment: the same, checked.
        notes: what is not as it was: data or a model that has changed, files found elsewhere.
        threads: that it is run with, those of the original: sums are rounded in another order with others. None: not
            recorded.
    """

    folder: RunFolder
    result: RunResult
    config: dict[str, Any]
    experiment: Experiment
    notes: tuple[str, ...]
    threads: int | None = None


def recorded(folder: RunFolder) -> Recorded:
    """What a run says of itself.

    Raises:
        UserError: it has no valid result, or cannot be run again: a secret was taken out of its config, files are gone.
    """
    result = folder.result()
    if result is None:
        damage = folder.damage()
        raise UserError(
            f"{folder.path} {f'cannot be used: {damage}' if damage else 'has no result: it never finished'}"
        )
    if secret := list(_secret(result.config, "")):
        what = f"a secret was taken out of {', '.join(secret)}"
        raise UserError(
            f"{folder.path} cannot be run again: {what}; put it back into a copy of config.json and run that"
        )
    config, found = _relocated(_without_places(result.config), results_folder(folder))
    plug_paths(Path.cwd())
    parsed = parse_config(config, str(folder.config_file), folder.path)
    experiment = Experiment(result.name, parsed, result.seed, cast("Endpoint", result.endpoint))
    try:
        changed = list(_changes(experiment, result))
    except OSError as error:  # while hashing what the config names
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from None
    return Recorded(folder, result, config, experiment, (*changed, *found), result.resources.get("threads"))


def code_of(run: Recorded) -> list[str]:
    """What a record names that would run code of its own: the folder may come from somebody else."""
    found = []
    if trusts_remote_code(section(run.config, "model", "model_args")):
        found.append(f"model.model_args.trust_remote_code (the code of {run.experiment.config.model.name})")
    for where in PLUGIN_SETTINGS:
        given = value_at(run.config, where)
        names = given if isinstance(given, list) else [given]
        found += [f"{where} ({name})" for name in names if isinstance(name, str) and ":" in name]
    if value_at(run.config, "evaluation.lm_eval.allow_code") is True:
        found.append(
            f"{LM_EVAL}.allow_code (the tasks {', '.join(section(run.config, 'evaluation', 'lm_eval')['tasks'])})"
        )
    return found


def check_trust(run: Recorded, trusted: bool) -> None:
    """Refuse to run code that only the record of a run asks for.

    Raises:
        UserError: there is some, and the user has not said that it is trusted.
    """
    if not trusted and (code := code_of(run)):
        raise UserError(
            f"{run.folder.path} would run code that its record names: {plain('; '.join(code))}. "
            "If you have read it and trust it, give --trust"
        )


def default_place(folder: RunFolder) -> Path:
    """Beside the results: `results-reproduced`."""
    root = results_folder(folder)
    return root.with_name(f"{root.name}-reproduced")


def place_of(run: Recorded, results: Path) -> RunFolder:
    """Where its reproduction lies.

    Raises:
        UserError: that is where the run itself lies.
    """
    if results.resolve() == results_folder(run.folder):
        raise UserError(f"--results-path {results}: the run itself lies there; choose another folder")
    return ResultStore(results).folder(run.experiment.id, run.experiment.slug)


def set_aside(folder: RunFolder, results: Path) -> None:
    """Move a reproduction out of the way of a new one.

    Raises:
        RunBusyError: another process is at it.
    """
    lock = ResultStore(results).lock(folder.id, "run")
    if not lock.acquire(SECONDS_TO_ASK):
        raise RunBusyError(f"another process is running it: {folder.path}")
    try:
        place = results / EARLIER
        place.mkdir(parents=True, exist_ok=True)
        folder.path.rename(next(to for n in count(1) if not (to := place / f"{folder.path.name}.{n}").exists()))
    finally:
        lock.release()


def run_again(run: Recorded, folder: RunFolder, results: Path) -> None:
    """Do the work, showing its progress.

    Raises:
        UserError: it did not finish.
    """
    ResultStore(results).check_writable()
    folder.write_config(run.config)
    process = subprocess.Popen(  # noqa: S603 - argv list, no shell
        watched(_command(run, folder, results)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # what it says there is said by the comparison too
        env={**os.environ, **thread_variables(run.threads)},
    )
    with ended_with_us(process):
        code = process.wait()
    if code or folder.result() is None:
        raise UserError(f"running it again ended with exit code {code}; its log: {folder.log_file}")


def _command(run: Recorded, folder: RunFolder, results: Path) -> tuple[str, ...]:
    program = (sys.executable, "-m", "sft.cli")
    threads = () if run.threads is None else ("--threads", str(run.threads))
    places = (path_argument(folder.config_file), "--results-path", path_argument(results), *threads)
    if run.experiment.endpoint == "evaluate":
        return (*program, "evaluate", *places)
    evaluation = "--no-do-eval" if run.experiment.endpoint == "train" else "--do-eval"
    halvings = str(run.result.resources.get("batch_halvings", 0))
    more = ("--plugs", str(Path.cwd()), "--halvings", halvings, "--expect", run.experiment.id)
    return (*program, "run-experiment", *places, evaluation, *more)


def _secret(value: Any, key: str) -> Iterator[str]:
    """Keys of what was taken out of a config."""
    if isinstance(value, str):
        if PLACEHOLDER in value:
            yield key
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _secret(item, f"{key}.{name}" if key else plain(name))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _secret(item, f"{key}[{place}]")


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config by which nothing is written or told elsewhere."""
    training = config.get("training")
    if not isinstance(training, dict) or not isinstance(arguments := training.get("trainer_args"), dict):
        return dict(config)
    kept = {key: value for key, value in arguments.items() if not _GOES_ELSEWHERE.fullmatch(key)}
    return {**config, "training": {**training, "trainer_args": kept}}


def _relocated(config: dict[str, Any], root: Path) -> tuple[dict[str, Any], list[str]]:
    """A config whose paths lead to where the results folder, or what is shipped with this package, now lies."""
    notes = []
    for place, key in PATH_FIELDS:
        inside = config.get(place)
        value = inside.get(key) if isinstance(inside, dict) else None
        if isinstance(inside, dict) and isinstance(value, str) and (now := _elsewhere(Path(value), root)):
            notes.append(f"{place}.{key} was {plain(value)}, and is read from {now}")
            config = {**config, place: {**inside, key: str(now)}}
    return config, notes


def _elsewhere(path: Path, root: Path) -> Path | None:
    """Where something lies that is no longer where it was: of a run of this folder, or of the package's own files."""
    if not path.is_absolute() or path.exists():
        return None
    parts = path.parts
    places = ((RUNS, root), ("etc", shipped_root()))
    found = (base.joinpath(*parts[n:]) for name, base in places for n, part in enumerate(parts) if part == name)
    return next((place for place in found if place.exists()), None)


def _changes(experiment: Experiment, result: RunResult) -> Iterator[str]:
    """What shows that it is not the same work any more."""
    recorded_date = result.config.get("prompting", {}).get("date")
    if recorded_date is None and may_read_clock(experiment.config):
        yield (
            "the run records no prompting.date: a chat template that shows the date showed the day of the run; "
            f"it now shows {experiment.config.prompting.date}"
        )
    if experiment.id == result.id:
        return
    before, now = result.data.get("sha256"), data_content(experiment.config.dataset)
    if result.id_version < ID_VERSION:
        yield "it was made by an earlier version of sft, which read data files differently"
    elif before and now and now != before:
        yield f"the data has changed since: {experiment.config.dataset.path}"
    else:
        what = "a model, an adapter or a plug that it names, or what this version takes for the same work"
        yield f"it is not the same work any more (id {result.id}, now {experiment.id}): {what} has changed"
