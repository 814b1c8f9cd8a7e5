"""One experiment by itself: read from its file, and held while it runs; in a sweep's children and outside of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sft.config.experiment import Experiment
from sft.config.reading.load import parse_config
from sft.config.sections.schema import DEFAULT_SEED, Endpoint
from sft.errors import UserError
from sft.foreign import plug_paths
from sft.io import parse_json
from sft.log import get_logger
from sft.results.locks import RunBusyError
from sft.results.store import ResultStore, RunFolder
from sft.secrets import join_secrets
from sft.sweep import check
from sft.sweep.processes import take_secrets

log = get_logger(__name__)

SECONDS_FOR_LOCK = 8.0  # for a process that was told to end, and is still at it, to let go of the run


def load_experiment(
    path: Path,
    endpoint: Endpoint | None,
    random_seed: int | None,
    plugs: Path | None = None,
    expected: str | None = None,
) -> Experiment:
    """The one experiment of a config file.

    Args:
        path: JSON or Jsonnet.
        endpoint: the command it is for; None: whichever its sections are enough for.
        random_seed: given on the command line, or None.
        plugs: folder of the user's plugs; None: the config's.
        expected: the id that it was planned under; None: any.

    Raises:
        UserError: the file holds several, or one that cannot run, or is not what was planned.
    """
    experiment = _load(path, endpoint, random_seed, plugs)
    if expected is not None and experiment.id != expected:
        raise UserError(
            "its data, model or plugs have changed since the sweep was planned; run the same command again, "
            "which plans anew"
        )
    return experiment


def _load(path: Path, endpoint: Endpoint | None, random_seed: int | None, plugs: Path | None) -> Experiment:
    plug_paths(plugs or path.resolve().parent)  # before the plan: ids hash what the plugs hold
    if (secrets := take_secrets()) and endpoint is not None:
        data = join_secrets(parse_json(path.read_text(encoding="utf-8")), secrets)
        config = parse_config(data, str(path), path.parent)
        return Experiment(
            config.name or path.stem, config, DEFAULT_SEED if config.seed is None else config.seed, endpoint
        )
    plan = check.load_plan(path, None if random_seed is None else (random_seed,), endpoint)
    if len(plan.experiments) != 1:
        raise UserError(f"{path} holds {len(plan.experiments)} experiments: use run-experiments")
    return plan.experiments[0]


@contextmanager
def held(store: ResultStore, experiment: Experiment) -> Iterator[RunFolder]:
    """The run's folder, which is this process's alone inside; a damaged result in it is moved out of the way.

    Raises:
        RunBusyError: another process has it.
        UserError: the results folder cannot be written.
    """
    store.check_writable()
    lock = store.lock(experiment.id, "run")
    if not lock.acquire(SECONDS_FOR_LOCK):
        raise RunBusyError(f"another process is running it: {store.folder(experiment.id, experiment.slug).path}")
    try:
        folder = replace(store.folder(experiment.id, experiment.slug), lock=lock)
        if damage := store.quarantine(folder):
            log.warning("%s", damage)
        yield folder
    finally:
        lock.release()
