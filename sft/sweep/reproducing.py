"""Run a finished run again from its recorded config and seed, in its own process and results folder.

The original run is not modified: neither its folder nor its adapter. `sft.report.pairs.agreement` compares the two.
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

EARLIER = "earlier"  # folder of replaced reproductions
SECONDS_TO_ASK = 0.1  # above 0, so that the marker of a dead host is watched and taken over
# Arguments of the trainer that would overwrite the original or report to other services.
_EXTERNAL_OUTPUT = re.compile(r"output_dir|push_to_hub.*|hub_.*|report_to|run_name|project|trackio_.*")


@dataclass(frozen=True)
class Recorded:
    """A finished run, and the experiment that its record describes now.

    Args:
        folder: folder of the run.
        result: result of the run.
        config: config to run, as JSON.
        experiment: the same config, checked.
        notes: differences from the original: changed data or models, moved files.
        threads: threads of the original, as others would round sums in another order; None: not recorded.
    """

    folder: RunFolder
    result: RunResult
    config: dict[str, Any]
    experiment: Experiment
    notes: tuple[str, ...]
    threads: int | None = None


def recorded(folder: RunFolder) -> Recorded:
    """Read the record of a run.

    Raises:
        UserError: it has no valid result, or cannot be run again: its config lacks a secret, or files are missing.
    """
    result = folder.result()
    if result is None:
        damage = folder.damage()
        raise UserError(
            f"{folder.path} {f'cannot be used: {damage}' if damage else 'has no result: it never finished'}"
        )
    if keys := list(_redacted_keys(result.config, "")):
        raise UserError(
            f"{folder.path} cannot be run again: a secret was removed from {', '.join(keys)}; "
            "add it to a copy of config.json and run that"
        )
    config, moved = _relocated(_without_external_output(result.config), results_folder(folder))
    plug_paths(Path.cwd())
    parsed = parse_config(config, str(folder.config_file), folder.path)
    experiment = Experiment(result.name, parsed, result.seed, cast("Endpoint", result.endpoint))
    try:
        changed = list(_changes(experiment, result))
    except OSError as error:  # while hashing files named in the config
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from None
    return Recorded(folder, result, config, experiment, (*changed, *moved), result.resources.get("threads"))


def user_code(run: Recorded) -> list[str]:
    """Return the settings of a record that would run code. The folder may come from an untrusted source."""
    code = []
    if trusts_remote_code(section(run.config, "model", "model_args")):
        code.append(f"model.model_args.trust_remote_code (the code of {run.experiment.config.model.name})")
    for key in PLUGIN_SETTINGS:
        value = value_at(run.config, key)
        names = value if isinstance(value, list) else [value]
        code += [f"{key} ({name})" for name in names if isinstance(name, str) and ":" in name]
    if value_at(run.config, "evaluation.lm_eval.allow_code") is True:
        code.append(
            f"{LM_EVAL}.allow_code (the tasks {', '.join(section(run.config, 'evaluation', 'lm_eval')['tasks'])})"
        )
    return code


def check_trust(run: Recorded, trusted: bool) -> None:
    """Raise if the record of a run would run code that the user has not trusted.

    Raises:
        UserError: there is such code, and `trusted` is False.
    """
    if not trusted and (code := user_code(run)):
        raise UserError(
            f"{run.folder.path} would run code named in its record: {plain('; '.join(code))}; "
            "if you have read it and trust it, add --trust"
        )


def default_results(folder: RunFolder) -> Path:
    """Return the default results folder of a reproduction: `results-reproduced` for `results`."""
    root = results_folder(folder)
    return root.with_name(f"{root.name}-reproduced")


def reproduction_folder(run: Recorded, results: Path) -> RunFolder:
    """Return the run folder of a reproduction.

    Raises:
        UserError: the results folder contains the run itself.
    """
    if results.resolve() == results_folder(run.folder):
        raise UserError(f"--results-path {results}: contains the run itself; choose another folder")
    return ResultStore(results).folder(run.experiment.id, run.experiment.slug)


def set_aside(folder: RunFolder, results: Path) -> None:
    """Move an earlier reproduction to make room for a new one.

    Raises:
        RunBusyError: another process is running it.
    """
    lock = ResultStore(results).lock(folder.id, "run")
    if not lock.acquire(SECONDS_TO_ASK):
        raise RunBusyError(f"another process is running it: {folder.path}")
    try:
        earlier = results / EARLIER
        earlier.mkdir(parents=True, exist_ok=True)
        folder.path.rename(next(to for n in count(1) if not (to := earlier / f"{folder.path.name}.{n}").exists()))
    finally:
        lock.release()


def run_again(run: Recorded, folder: RunFolder, results: Path) -> None:
    """Run the experiment and show its progress.

    Raises:
        UserError: it did not finish.
    """
    ResultStore(results).check_writable()
    folder.write_config(run.config)
    process = subprocess.Popen(  # noqa: S603 - argv list, no shell
        watched(_command(run, folder, results)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # the comparison shows the same figures
        env={**os.environ, **thread_variables(run.threads)},
    )
    with ended_with_us(process):
        code = process.wait()
    if code or folder.result() is None:
        raise UserError(f"the reproduction ended with exit code {code}; its log: {folder.log_file}")


def _command(run: Recorded, folder: RunFolder, results: Path) -> tuple[str, ...]:
    program = (sys.executable, "-m", "sft.cli")
    threads = () if run.threads is None else ("--threads", str(run.threads))
    arguments = (path_argument(folder.config_file), "--results-path", path_argument(results), *threads)
    if run.experiment.endpoint == "evaluate":
        return (*program, "evaluate", *arguments)
    evaluation = "--no-do-eval" if run.experiment.endpoint == "train" else "--do-eval"
    halvings = str(run.result.resources.get("batch_halvings", 0))
    more = ("--plugs", str(Path.cwd()), "--halvings", halvings, "--expect", run.experiment.id)
    return (*program, "run-experiment", *arguments, evaluation, *more)


def _redacted_keys(value: Any, key: str) -> Iterator[str]:
    """Yield the keys of removed secrets in a config."""
    if isinstance(value, str):
        if PLACEHOLDER in value:
            yield key
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _redacted_keys(item, f"{key}.{name}" if key else plain(name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _redacted_keys(item, f"{key}[{index}]")


def _without_external_output(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config without arguments that write or report outside the results folder."""
    training = config.get("training")
    if not isinstance(training, dict) or not isinstance(arguments := training.get("trainer_args"), dict):
        return dict(config)
    kept = {key: value for key, value in arguments.items() if not _EXTERNAL_OUTPUT.fullmatch(key)}
    return {**config, "training": {**training, "trainer_args": kept}}


def _relocated(config: dict[str, Any], root: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the config with paths to moved results or to files shipped with this package, and a note for each."""
    notes = []
    for section_name, key in PATH_FIELDS:
        values = config.get(section_name)
        value = values.get(key) if isinstance(values, dict) else None
        if isinstance(values, dict) and isinstance(value, str) and (path := _new_path(Path(value), root)):
            notes.append(f"{section_name}.{key} was {plain(value)}; it is now read from {path}")
            config = {**config, section_name: {**values, key: str(path)}}
    return config, notes


def _new_path(path: Path, root: Path) -> Path | None:
    """Return the new path of a missing file of this results folder or of the package, or None."""
    if not path.is_absolute() or path.exists():
        return None
    parts = path.parts
    roots = ((RUNS, root), ("etc", shipped_root()))
    candidates = (base.joinpath(*parts[n:]) for name, base in roots for n, part in enumerate(parts) if part == name)
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _changes(experiment: Experiment, result: RunResult) -> Iterator[str]:
    """Yield the reasons why the reproduction is not the same experiment."""
    recorded_date = result.config.get("prompting", {}).get("date")
    if recorded_date is None and may_read_clock(experiment.config):
        yield (
            "prompting.date was not recorded: a chat template with the date showed the day of the run; "
            f"it now shows {experiment.config.prompting.date}"
        )
    if experiment.id == result.id:
        return
    before, now = result.data.get("sha256"), data_content(experiment.config.dataset)
    if result.id_version < ID_VERSION:
        yield "it was created by an earlier version of sft, which read data files differently"
    elif before and now and now != before:
        yield f"the data has changed: {experiment.config.dataset.path}"
    else:
        yield (
            f"its id has changed ({result.id}, now {experiment.id}): "
            "a model, an adapter or a plugin in the config, or the definition of ids, has changed"
        )
