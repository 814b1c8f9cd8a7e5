"""`sft.run` and `sft.run_grid`: the commands `run-experiment` and `run-experiments`, called from Python.

The config is checked in this process, so that its errors keep their type. Then the command runs in a separate process.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sft.api.inputs import SOURCE, ConfigOrPath, config_file
from sft.api.process import Ended, run_command
from sft.api.results import Results, load_results
from sft.api.runs import Run, RunFailedError
from sft.config.sections.schema import Endpoint
from sft.errors import BUG, SftError, UserError
from sft.foreign import plug_paths
from sft.launchers.base import Isolation
from sft.log import LOGGER_NAME
from sft.report.read.runs import run_of
from sft.results.locks import RunBusyError
from sft.results.store import ResultStore
from sft.sweep.planning import check
from sft.sweep.planning.jobs import Plan
from sft.sweep.processes import path_argument

_IN_ORDER = 128  # exit code of a command that stops in order on a signal, minus the signal's number
_planning = threading.Lock()


def run(
    config: ConfigOrPath,
    results: str | os.PathLike[str] = "results",
    *,
    random_seed: int | None = None,
    do_eval: bool = True,
    threads: int | None = None,
    quiet: bool = False,
) -> Run:
    """Train, then evaluate the trained model: one experiment, like `python -m sft.cli run-experiment`.

    It runs in a separate process. A finished run is not repeated. Progress is printed line by line.

        >>> import sft
        >>> run = sft.run("etc/configs/json/demo.json")  # doctest: +SKIP
        >>> run.status, len(run.predictions)  # doctest: +SKIP
        ('done', 300)

    Args:
        config: a JSON or Jsonnet file with one experiment, or a dict of the same form. Relative paths in it are looked
            up in the working directory, then in the file's folder.
        results: folder of the run folders; created if it does not exist.
        random_seed: seed of sampling, initialisation, training and in-context examples; None: the config's, else 13.
        do_eval: evaluate the trained model.
        threads: CPU threads; None: those of its sweep, else OMP_NUM_THREADS, else all processors.
        quiet: print only warnings.

    Returns:
        The finished run, with its metrics, predictions and label scores.

    Raises:
        ConfigError: the config cannot be used; it lists every problem.
        UserError: the data, the model, an argument or the results folder cannot be used; one line.
        RunFailedError: the run ended without a result (a failure, or out of memory); it names the log.
        RunBusyError: another process is running this experiment.
        SftError: a signal ended the run; the same call runs it again.
        KeyboardInterrupt: Ctrl-C, after the run has ended.
    """
    endpoint: Endpoint = "run-experiment" if do_eval else "train"
    store = ResultStore(Path(results))
    with config_file(config) as path:
        plan = _plan(path, None if random_seed is None else [random_seed], endpoint)
        if len(plan.experiments) != 1:
            raise UserError(f"{_named(config)}: expected one experiment, got {len(plan.experiments)}; use sft.run_grid")
        experiment = plan.experiments[0]
        options = {"random_seed": random_seed, "do_eval": do_eval, "threads": threads, "expect": experiment.id}
        ended = _command("run-experiment", path, store, options, quiet)
    found = run_of(store, store.folder(experiment.id, experiment.slug))
    if ended.code == 1 and not ended.bug and found is not None and found.result is None:
        raise RunFailedError(Run(found).without_result())
    _check("run-experiment", ended)
    if found is None or found.result is None:
        raise SftError(f"{experiment.name} ended without a result in {store.root}: {ended.message}".rstrip(": "))
    return Run(found)


def run_grid(
    config: ConfigOrPath,
    results: str | os.PathLike[str] = "results",
    *,
    seeds: Sequence[int] | None = None,
    do_eval: bool = True,
    jobs: int | None = None,
    gpus_per_experiment: int = 1,
    jobs_per_gpu: int = 1,
    threads: int | None = None,
    only: str | None = None,
    retry_failed: bool = False,
    max_failures: int | None = None,
    timeout: float | None = None,
    memory_limit: float | None = None,
    oom_retry: bool = True,
    launcher: str = "local",
    launcher_arg: Sequence[str] | None = None,
    isolation: Isolation | None = None,
    max_experiments: int = 10_000,
    quiet: bool = False,
) -> Results:
    """Run every experiment of a grid and write the comparison, like `python -m sft.cli run-experiments`.

    Each experiment runs in a separate process. The same call again repeats no finished experiment. An experiment that
    fails raises no error: see `runs["status"]`. The same call runs killed experiments again.

    Args:
        config: a Jsonnet grid, a JSON file or a dict `{"configs": {NAME: config}, "seeds": [...]}`, or one config.
        results: folder of the run folders and the report; created if it does not exist.
        seeds: seeds of every random experiment; None: the grid's, else 13.
        do_eval: evaluate the trained models.
        jobs: experiments at a time; None: one for each visible GPU, else 1.
        gpus_per_experiment: GPUs of each experiment.
        jobs_per_gpu: experiments that share a GPU.
        threads: CPU threads of each experiment; None: the number that the sweep started with, else the processors
            divided among the experiments at a time.
        only: a glob: only experiments whose name or id matches.
        retry_failed: also run experiments that failed before.
        max_failures: start no more experiments after this many failures.
        timeout: seconds that one experiment may take.
        memory_limit: GiB of main memory that one experiment may use.
        oom_retry: run experiments that run out of memory again with half the batch.
        launcher: where experiments run: "local", or "module:factory".
        launcher_arg: options of the launcher, each as "KEY=VALUE".
        isolation: how processes start: "auto" (default), "fork", "spawn" or "resident".
        max_experiments: refuse larger grids.
        quiet: print only warnings.

    Returns:
        The results of the grid: one row per recipe, one row per run.

    Raises:
        ConfigError: the grid cannot be used; it lists every problem of every experiment.
        UserError: an option or a folder cannot be used.
        SftError: a signal or a bug ended the sweep; the same call continues it.
        KeyboardInterrupt: Ctrl-C, after the running experiments have ended.
    """
    endpoint: Endpoint = "run-experiment" if do_eval else "train"
    options: dict[str, Any] = {
        "seeds": None if seeds is None else ",".join(map(str, seeds)),
        "do_eval": do_eval,
        "jobs": jobs,
        "gpus_per_experiment": gpus_per_experiment,
        "jobs_per_gpu": jobs_per_gpu,
        "threads": threads,
        "only": only,
        "retry_failed": retry_failed or None,
        "max_failures": max_failures,
        "timeout": timeout,
        "memory_limit": memory_limit,
        "oom_retry": oom_retry,
        "launcher": launcher,
        "launcher_arg": launcher_arg,
        "isolation": isolation,
        "max_experiments": max_experiments,
        "quiet": quiet or None,
    }
    store = ResultStore(Path(results))
    with config_file(config) as path:
        _plan(path, seeds, endpoint, max_experiments)
        ended = _command("run-experiments", path, store, options, quiet)
    _check("run-experiments", ended)
    return load_results(store.root)


def _plan(path: Path, seeds: Sequence[int] | None, endpoint: Endpoint, max_experiments: int = 10_000) -> Plan:
    """Return the experiments of a config. Only errors are reported here; the command logs the rest."""
    with _silent_planning():
        plug_paths(path.resolve().parent)  # before the plan: ids depend on the content of the user's modules
        return check.load_plan(path, None if seeds is None else tuple(seeds), endpoint, max_experiments)


@contextmanager
def _silent_planning() -> Iterator[None]:
    """Drop log lines below errors, in one thread at a time."""
    logger = logging.getLogger(LOGGER_NAME)
    with _planning:
        before = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(before)


def _command(name: str, path: Path, store: ResultStore, options: dict[str, Any], quiet: bool) -> Ended:
    flags = [flag for option, value in options.items() for flag in _flag(option, value)]
    return run_command([name, *flags, f"--results-path={store.root}", "--", path_argument(path)], quiet)


def _flag(option: str, value: Any) -> list[str]:
    """Return an option as command-line arguments; none for None, the command's default."""
    name = option.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [f"--{name}={one}" for one in value]
    return [f"--{name}={value}"]


def _check(name: str, ended: Ended) -> None:
    """Raise the error of a command, unless it ended with exit code 0, or 1 for failed experiments.

    Raises:
        UserError: with the command's message.
        SftError: a signal or a bug ended it.
    """
    if ended.bug:
        raise SftError(f"{name}: {BUG[0].lower()}{BUG[1:]}: please report it with the traceback above")
    if ended.code == RunBusyError.exit_code:
        raise RunBusyError(ended.message)
    if ended.code == UserError.exit_code:
        raise UserError(ended.message or f"{name} ended with exit code {ended.code}")
    if ended.code not in (0, 1):
        raise SftError(f"{name} was ended ({_signal(ended.code)}); the same call continues where it stopped")


def _signal(code: int) -> str:
    number = -code if code < 0 else code - _IN_ORDER
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"exit code {code}"


def _named(config: ConfigOrPath) -> str:
    return str(config) if isinstance(config, str | os.PathLike) else SOURCE
