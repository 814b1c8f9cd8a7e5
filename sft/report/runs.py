"""The runs that a report is about: those of the last grid, or all of a results folder. Reads, and judges nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError

from sft.config.experiment import Experiment
from sft.config.schema import DEFAULT_SEED, Endpoint, ExperimentConfig
from sft.errors import UserError
from sft.io import canonical_json, parse_json
from sft.log import get_logger
from sft.results.schema import RunResult
from sft.results.store import ResultStore, RunFolder

log = get_logger(__name__)

_WAY_OUT = "run the grid again, or give report --all"


@dataclass(frozen=True)
class Run:
    """One experiment, finished or not.

    Args:
        name, id, recipe_id, seed, folder: of the experiment.
        config: its validated config, for what varies.
        state: `done`, `failed`, `oom`, `timeout`, `interrupted`, `running` or `missing`.
        error: why it did not finish.
        result: its valid result, if it finished.
    """

    name: str
    id: str
    recipe_id: str
    seed: int
    folder: RunFolder
    config: ExperimentConfig
    state: str
    error: str = ""
    result: RunResult | None = None

    def metrics(self, split: str = "test") -> dict[str, float]:
        """The plain numbers of its result."""
        if self.result is None:
            return {}
        values = self.result.results if split == "test" else self.result.results.get(split, {})
        return {key: float(v) for key, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}

    def judged_rows(self, split: str = "test") -> str | None:
        """What it was judged on, as text that is equal for the same rows; None without a result."""
        if self.result is None:
            return None
        dataset, data = self.config.dataset, self.result.data
        rows = data.get("rows", {}).get(split, dataset.max_n_test)  # max_n_test is one sample: its size tells which
        name = dataset.test_split if split == "test" else dataset.validation_split
        return canonical_json([data.get("sha256") or dataset.path, dataset.args, name, rows])


def planned_runs(store: ResultStore) -> list[Run] | None:
    """The runs of the last grid; None when no grid was run here.

    Raises:
        UserError: there is a plan that cannot be read.
    """
    plan = store.plan()
    if plan is not None:
        return [_planned(store, entry, number) for number, entry in enumerate(plan, start=1)]
    if store.plan_file.exists():
        raise UserError(f"{store.plan_file}: is not a plan; {_WAY_OUT}")
    return None


def all_runs(store: ResultStore) -> list[Run]:
    """Every run of the folder, finished or not; one whose config cannot be read is told in the log and left out."""
    found = [
        _finished(folder, result) if (result := folder.result()) else _unfinished(folder) for folder in store.folders()
    ]
    return [run for run in found if run is not None]


def _planned(store: ResultStore, entry: Any, number: int) -> Run:
    try:
        folder = store.folder(str(entry["id"]), str(entry["folder"]).rpartition("-")[0])
        config = _parsed(entry["config"])
        name, recipe_id, seed = str(entry["name"]), str(entry["recipe_id"]), int(entry["seed"])
    except ValidationError as error:
        where = f"experiment {number}, config.{'.'.join(map(str, error.errors()[0]['loc']))}"
        reason = error.errors()[0]["msg"]
        raise UserError(f"{store.plan_file}: {where}: {reason}; {_WAY_OUT}") from None
    except KeyError as error:
        raise UserError(f"{store.plan_file}: experiment {number} has no {error}; {_WAY_OUT}") from None
    except (TypeError, ValueError):
        raise UserError(f"{store.plan_file}: experiment {number} is none; {_WAY_OUT}") from None
    result, state = folder.result(), folder.state()
    if result is not None:
        return Run(name, folder.id, recipe_id, seed, folder, config, state="done", result=result)
    if state is None:
        return Run(name, folder.id, recipe_id, seed, folder, config, state="missing")
    return Run(name, folder.id, recipe_id, seed, folder, config, state.state, state.error)


def _finished(folder: RunFolder, result: RunResult) -> Run | None:
    config = _config_of(folder, result.config)
    if config is None:
        return None
    return Run(result.name, result.id, result.recipe_id, result.seed, folder, config, state="done", result=result)


def _unfinished(folder: RunFolder) -> Run | None:
    """A run that left its config and its state, and no result."""
    state = folder.state()
    if state is None:
        return None
    try:
        data = parse_json(folder.config_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        log.warning("%s is left out: its config cannot be read (%s)", folder.path, error)
        return None
    config = _config_of(folder, data)
    if config is None:
        return None
    seed = DEFAULT_SEED if config.seed is None else config.seed
    name = config.name or folder.path.name
    recipe_id = next((e.recipe_id for e in _experiments(name, config, seed) if e.id == folder.id), folder.id)
    return Run(name, folder.id, recipe_id, seed, folder, config, state.state, state.error)


def _experiments(name: str, config: ExperimentConfig, seed: int) -> Iterator[Experiment]:
    """The config under each command: a run folder does not say which one it was."""
    for endpoint in get_args(Endpoint):
        yield Experiment(name, config, seed, endpoint)


def _config_of(folder: RunFolder, data: Mapping[str, Any]) -> ExperimentConfig | None:
    try:
        return _parsed(data)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        log.warning("%s is left out: its config is not one of this version (%s)", folder.path, where)
        return None


def _parsed(data: Mapping[str, Any]) -> ExperimentConfig:
    return ExperimentConfig.model_validate_json(json.dumps(data))
