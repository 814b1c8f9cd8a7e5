"""Check the data before a sweep starts: a child process opens each distinct data set and tokenizer once.

A wrong column fails within seconds, and only its own experiments. This module sends the request. `sft.pipeline` opens
the data in the child, as it needs slow imports.
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
from sft.sweep.planning.jobs import config_of
from sft.sweep.planning.options import SweepOptions
from sft.sweep.processes import launcher_of, path_argument, take_secrets

POLL_SECONDS = 0.02
_SECRETS = "places"  # a key named after secrets would be redacted  # words: fixed name
LONGEST_SECONDS = 1800.0  # so that an unresponsive Hub does not block a sweep over a weekend


class Checked(NamedTuple):
    """Result of a check.

    Attributes:
        problems: id -> one line, for each experiment that cannot run.
        breakdown: last log lines if the check itself failed, else empty. Unchecked experiments then fail by themselves.
        notes: a sentence for each remarkable property of the data.
    """

    problems: Mapping[str, str]
    breakdown: str = ""
    notes: Sequence[str] = ()


def never() -> bool:
    """Return False: no request to stop."""
    return False


def check_data(
    experiments: Sequence[Experiment],
    options: SweepOptions,
    launcher: Launcher | None = None,
    stopped: Callable[[], bool] = never,
    parent: Path | None = None,
) -> Checked:
    """Find problems in the data or tokenizer of each experiment.

    Args:
        experiments: experiments to check; the same data is checked once.
        options: options of the sweep.
        launcher: starts the child.
        stopped: polled; when it returns True, the child is ended and no problem is reported.
        parent: folder for requests and answers, such as the results folder; None: the system's temporary folder.
    """
    if not experiments:
        return Checked({})
    try:
        with tempfile.TemporaryDirectory(prefix=CHECKS, dir=parent) as folder:
            return _check_in(Path(folder), experiments, options, launcher or _local_launcher(options), stopped)
    except (OSError, ValueError) as error:  # no space for the request, or no answer
        return Checked({}, str(error))


def _local_launcher(options: SweepOptions) -> Launcher:
    """Return a launcher on this machine, as a short check must not wait in a cluster's queue."""
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
    """Return the request for the child, and its secrets as a JSON list (empty without secrets)."""
    secrets: dict[str, int] = {}  # each one once, as the environment has little room
    entries = {}
    for experiment in experiments:
        config, by_key = split_secrets(config_of(experiment))
        numbers = {key: secrets.setdefault(json.dumps(secret), len(secrets)) for key, secret in by_key.items()}
        entries[experiment.id] = {"config": config, "endpoint": experiment.endpoint, _SECRETS: numbers}
    return entries, f"[{','.join(secrets)}]" if secrets else ""


def read_request(path: Path) -> dict[str, Any]:
    """Read the request of `check_data` in the child: id -> `{"config", "endpoint"}`, with secrets restored."""
    entries: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
    secrets = take_secrets()
    for entry in entries.values():
        by_key = {key: secrets[number] for key, number in entry.pop(_SECRETS).items()}
        entry["config"] = join_secrets(entry["config"], by_key)
    return entries


def _run_to_end(job: Job, launcher: Launcher, stopped: Callable[[], bool]) -> Status | None:
    """Run a job and return its status, or None if it was stopped."""
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
