"""Load a single experiment and lock it while it runs, in children of a sweep and outside of sweeps."""

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
from sft.sweep.planning import check
from sft.sweep.processes import take_secrets

log = get_logger(__name__)

SECONDS_FOR_LOCK = 8.0  # for a process that is ending to release the run


def load_experiment(
    path: Path,
    endpoint: Endpoint | None,
    random_seed: int | None,
    plugs: Path | None = None,
    expected: str | None = None,
) -> Experiment:
    """Load the single experiment of a config file.

    Args:
        path: path of a JSON or Jsonnet file.
        endpoint: the command; None: the command that the sections suffice for.
        random_seed: seed from the command line, or None.
        plugs: folder of the user's plugins; None: the config's folder.
        expected: the planned id; None: any.

    Raises:
        UserError: the file has several experiments, or the experiment cannot run or differs from the plan.
    """
    experiment = _load(path, endpoint, random_seed, plugs)
    if expected is not None and experiment.id != expected:
        raise UserError(
            "its data, model or plugins have changed since the sweep was planned; "
            "run the same command again to plan it again"
        )
    return experiment


def _load(path: Path, endpoint: Endpoint | None, random_seed: int | None, plugs: Path | None) -> Experiment:
    plug_paths(plugs or path.resolve().parent)  # before planning, as ids include the hashes of plugins
    if (secrets := take_secrets()) and endpoint is not None:
        data = join_secrets(parse_json(path.read_text(encoding="utf-8")), secrets)
        config = parse_config(data, str(path), path.parent)
        return Experiment(
            config.name or path.stem, config, DEFAULT_SEED if config.seed is None else config.seed, endpoint
        )
    plan = check.load_plan(path, None if random_seed is None else (random_seed,), endpoint)
    if len(plan.experiments) != 1:
        raise UserError(f"{path}: expected one experiment, got {len(plan.experiments)}; use run-experiments")
    return plan.experiments[0]


@contextmanager
def held(store: ResultStore, experiment: Experiment) -> Iterator[RunFolder]:
    """Lock and return the run's folder. A damaged result in it is moved to the quarantine.

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
