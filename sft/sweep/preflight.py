"""Before a sweep starts: have a child process open each distinct data set and tokenizer once.

A wrong column fails in seconds, and only its own experiments. Knows only how to ask; `sft.pipeline` does the opening,
in the child, since it needs the heavy libraries.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sft.config.experiment import Experiment
from sft.io import parse_json, write_json
from sft.launchers.base import Job, Launcher, Status
from sft.plugins import LAUNCHERS
from sft.results.store import CHECKS, RunFolder
from sft.secrets import VARIABLE, join_secrets, split_secrets
from sft.sweep.jobs import config_of
from sft.sweep.options import SweepOptions
from sft.sweep.processes import launcher_of, path_argument, take_secrets

POLL_SECONDS = 0.02
LONGEST_SECONDS = 1800.0  # a hub that does not answer shall not hold up a weekend


class Checked(NamedTuple):
    """What a check found.

    `problems`: id -> one line, for each experiment that cannot run. `breakdown`: the last lines of a check that itself
    broke down, else empty; the experiments that it did not get to meet their trouble by themselves. `notes`: what is
    worth knowing of the data, a sentence each.
    """

    problems: Mapping[str, str]
    breakdown: str = ""
    notes: Sequence[str] = ()


def never() -> bool:
    """Nobody asks to stop."""
    return False


def check_data(
    experiments: Sequence[Experiment],
    options: SweepOptions,
    launcher: Launcher | None = None,
    stopped: Callable[[], bool] = never,
    place: Path | None = None,
) -> Checked:
    """What is wrong with the data or tokenizer of each experiment that cannot run.

    Args:
        experiments: to check; several with the same data are checked once.
        options: of the sweep that they are checked for.
        launcher: starts the child.
        stopped: asked again and again; once true the child is ended, and nothing is said to be wrong.
        place: a folder for the questions and answers, the results folder of a sweep; None: that of the system.
    """
    if not experiments:
        return Checked({})
    try:
        with tempfile.TemporaryDirectory(prefix=CHECKS, dir=place) as folder:
            return _check_in(Path(folder), experiments, options, launcher or _here(options), stopped)
    except (OSError, ValueError) as error:  # no room for the questions, or no answer
        return Checked({}, str(error))


def _here(options: SweepOptions) -> Launcher:
    """Return a launcher on this machine: a question of seconds does not wait in a cluster's queue."""
    if LAUNCHERS.spec(options.launcher).is_local:
        return launcher_of(options)
    return launcher_of(replace(options, launcher="local", launcher_args={"isolation": "spawn"}))


def _check_in(
    folder: Path,
    experiments: Sequence[Experiment],
    options: SweepOptions,
    launcher: Launcher,
    stopped: Callable[[], bool],
) -> Checked:
    request, answer, run = folder / "request.json", folder / "answer.json", RunFolder(folder)
    entries, secrets = _request(experiments)
    write_json(request, entries)
    job = Job(
        argv=(
            *options.program,
            "check-data",
            *map(path_argument, (request, answer)),
            "--plugs",
            str(options.plug_folder),
        ),
        log_file=run.log_file,
        environment={VARIABLE: secrets} if secrets else {},
        resources=replace(
            options.limits,
            devices=(),
            threads=options.threads,
            seconds=min(options.limits.seconds or LONGEST_SECONDS, LONGEST_SECONDS),
        ),
    )
    status = _run_to_end(job, launcher, stopped)
    if status is None:
        return Checked({})
    if status.cause == "timeout":
        return Checked({}, f"it took longer than {job.resources.seconds:g} s")
    if status.exit_code != 0:
        return Checked({}, "\n".join(run.log_tail(5)) or f"exit code {status.exit_code}")
    return Checked(**parse_json(answer.read_text(encoding="utf-8")))


def _request(experiments: Sequence[Experiment]) -> tuple[dict[str, Any], str]:
    """What the child is asked, and as a JSON list the secrets that it needs for it; empty where there are none."""
    secrets: dict[str, int] = {}  # each one once: the environment has room for few
    entries = {}
    for experiment in experiments:
        config, found = split_secrets(config_of(experiment))
        places = {place: secrets.setdefault(json.dumps(secret), len(secrets)) for place, secret in found.items()}
        entries[experiment.id] = {"config": config, "endpoint": experiment.endpoint, "places": places}
    return entries, f"[{','.join(secrets)}]" if secrets else ""


def read_request(path: Path) -> dict[str, Any]:
    """What `check_data` has asked its child, in the child: id -> `{"config", "endpoint"}`, secrets put back."""
    entries: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
    secrets = take_secrets()
    for entry in entries.values():
        found = {place: secrets[number] for place, number in entry.pop("places").items()}
        entry["config"] = join_secrets(entry["config"], found)
    return entries


def _run_to_end(job: Job, launcher: Launcher, stopped: Callable[[], bool]) -> Status | None:
    """The status of a job; None when it was stopped."""
    while not launcher.ready():
        if stopped():
            return None
        time.sleep(POLL_SECONDS)
    running = launcher.start(job)
    try:
        while (status := running.poll()) is None and not stopped():
            time.sleep(POLL_SECONDS)
    except BaseException:
        running.kill()
        raise
    if status is None:
        running.kill()
    return status
