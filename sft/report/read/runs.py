"""The runs that a report is about: those of the last grid, or all of a results folder. Reads, and judges nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from sft.config.experiment import Experiment
from sft.config.sections.schema import DEFAULT_SEED, Endpoint, ExperimentConfig
from sft.errors import UserError
from sft.io import digest, parse_json, read_regular
from sft.log import get_logger
from sft.report.read.finished import Finished, finished
from sft.results.schema import RunResult
from sft.results.states import GONE, is_gone
from sft.results.store import ResultStore, RunFolder

log = get_logger(__name__)

# What comes of numbers, names and tables that no run writes, in files that somebody has changed.
ODD = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError)
_WAY_OUT = "run the grid again, or give report --all"
_NOTHING: Mapping[str, float] = {}


def relative_path(folder: Path, path: Path) -> str:
    """Return a path relative to a folder, with `/`."""
    return Path(os.path.relpath(path, folder)).as_posix()


@dataclass(frozen=True, slots=True)
class Run:
    """One experiment, finished or not.

    Args:
        name, id, recipe_id, seed, folder: of the experiment.
        config: its validated config, for what varies; without name, seed and output folder, and shared by its seeds.
        state: `done`, `failed`, `oom`, `timeout`, `interrupted`, `running`, `damaged`, `unreadable` or `missing`.
        error: why it did not finish.
        result: what is kept of its valid result, if it finished.
        endpoint: the command that it is run by, where that is known.
    """

    name: str
    id: str
    recipe_id: str
    seed: int
    folder: RunFolder
    config: ExperimentConfig
    state: str
    error: str = ""
    result: Finished | None = None
    endpoint: str = ""

    def metrics(self, split: str = "test") -> Mapping[str, float]:
        """The plain numbers of its result."""
        return _NOTHING if self.result is None else self.result.metrics.get(split, _NOTHING)

    @property
    def is_fixed(self) -> bool:
        """Whether nothing in it is random: its id has no seed in it."""
        return self.id == self.recipe_id

    def path_from(self, folder: Path) -> str:
        """Return the path of its folder relative to another one: `runs/<name>` from the results folder."""
        return relative_path(folder, self.folder.path)

    def evaluated_rows(self, split: str = "test") -> str | None:
        """What it was judged on, as text that is equal for the same rows; None without a result."""
        return None if self.result is None else self.result.judged_on.get(split)


class _Standing(NamedTuple):
    """Where an experiment stands: its state, why, and its result."""

    state: str
    error: str = ""
    result: RunResult | None = None


class _Configs:
    """Validated configs; those that differ by name, seed or output folder only are one object.

    Sections that are equal are one object too: most of ten thousand configs differ in two or three of them.
    """

    def __init__(self) -> None:
        self._parsed: dict[str, ExperimentConfig] = {}
        self._sections: dict[tuple[str, str], Any] = {}

    def parse(self, data: Mapping[str, Any]) -> ExperimentConfig:
        """The config of that JSON.

        Raises:
            ValidationError: it is none.
        """
        text = json.dumps(what_it_says(data), sort_keys=True)
        key = digest(text)
        if key not in self._parsed:
            config = ExperimentConfig.model_validate_json(text)
            shared = {name: self._shared(name, section) for name, section in config if isinstance(section, BaseModel)}
            self._parsed[key] = config.model_copy(update=shared)
        return self._parsed[key]

    def _shared(self, name: str, section: BaseModel) -> BaseModel:
        return self._sections.setdefault((name, digest(section.model_dump_json())), section)


def what_it_says(data: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a config without what each run has for itself: its name, its seed and its output folder."""
    left: dict[str, Any] = {key: value for key, value in data.items() if key not in ("name", "seed")}
    training = left.get("training")
    arguments = training.get("trainer_args") if isinstance(training, dict) else None
    if isinstance(training, dict) and isinstance(arguments, dict) and "output_dir" in arguments:
        kept = {key: value for key, value in arguments.items() if key != "output_dir"}
        others = {key: value for key, value in training.items() if key != "trainer_args"}
        left["training"] = {**others, "trainer_args": kept} if kept else others
    return left


def planned_runs(store: ResultStore) -> list[Run] | None:
    """The runs of the last grid; None when no grid was run here.

    Raises:
        UserError: there is a plan that cannot be read.
    """
    plan = store.plan()
    if plan is not None:
        configs = _Configs()
        plan.reverse()  # each entry is let go once it is read: together they are larger than all that is kept
        return [_planned(store, plan.pop(), number, configs) for number in range(1, len(plan) + 1)]
    if store.plan_file.exists():
        raise UserError(f"{store.plan_file}: is not a plan; {_WAY_OUT}")
    return None


def all_runs(store: ResultStore) -> list[Run]:
    """Every run of the folder, finished or not; one whose config cannot be read is told in the log and left out."""
    configs = _Configs()
    found = [_of_folder(store, folder, configs) for folder in store.folders()]
    return [run for run in found if run is not None]


def run_of(store: ResultStore, folder: RunFolder) -> Run | None:
    """The run of one folder, finished or not; None, told in the log, where it says too little."""
    return _of_folder(store, folder, _Configs())


def _standing(store: ResultStore, folder: RunFolder) -> _Standing:
    try:
        result = folder.result()
        damage = None if result is not None else folder.damage()
    except UserError as trouble:
        return _Standing("unreadable", str(trouble))
    if result is not None:
        return _Standing("done", result=result)
    if damage:
        return _Standing("damaged", f"its result cannot be used: {damage}")
    state = folder.state()
    if state is None:
        return _Standing("missing")
    if state.state == "running" and is_gone(store, folder.id):
        return _Standing("interrupted", GONE)
    if state.state == "done":  # and no result: somebody has taken it away
        return _Standing("missing", "it had finished, but its result is no longer there")
    # a run that goes on again may still have the error of the last time
    error = "" if state.state == "running" else state.error or folder.last_error_line()
    return _Standing(state.state, error)


def _planned(store: ResultStore, entry: Any, number: int, configs: _Configs) -> Run:
    try:
        folder = store.folder(str(entry["id"]), str(entry["folder"]).rpartition("-")[0])
        config = configs.parse(entry["config"])
        name, recipe_id, seed = str(entry["name"]), str(entry["recipe_id"]), int(entry["seed"])
    except ValidationError as error:
        where = f"experiment {number}, config.{'.'.join(map(str, error.errors()[0]['loc']))}"
        reason = error.errors()[0]["msg"]
        raise UserError(f"{store.plan_file}: {where}: {reason}; {_WAY_OUT}") from None
    except KeyError as error:
        raise UserError(f"{store.plan_file}: experiment {number} has no {error}; {_WAY_OUT}") from None
    except (AttributeError, TypeError, ValueError):
        raise UserError(f"{store.plan_file}: experiment {number} is none; {_WAY_OUT}") from None
    state, why, result = _standing(store, folder)
    state, why, kept = _kept(state, why, result, config)
    return Run(name, folder.id, recipe_id, seed, folder, config, state, why, kept, str(entry.get("endpoint", "")))


def _kept(state: str, why: str, result: RunResult | None, config: ExperimentConfig) -> tuple[str, str, Finished | None]:
    """What is kept of a result; where it does not say what results say, the run is damaged."""
    if result is None:
        return state, why, None
    try:
        return state, why, finished(result, config)
    except ODD as error:
        return "damaged", f"its result cannot be used ({type(error).__name__}: {error})", None


def _of_folder(store: ResultStore, folder: RunFolder, configs: _Configs) -> Run | None:
    """A run by what its folder says; None where it left too little."""
    state, why, result = _standing(store, folder)
    if result is not None:
        config = _config_of(folder, result.config, configs)
        if config is None:
            return None
        by = result.endpoint
        state, why, kept = _kept(state, why, result, config)
        return Run(result.name, result.id, result.recipe_id, result.seed, folder, config, state, why, kept, by)
    if state == "missing" and not why:
        return None
    try:
        data = parse_json(read_regular(folder.config_file).decode("utf-8"))
    except (OSError, ValueError) as error:
        log.warning("%s is left out: its config cannot be read (%s)", folder.path, error)
        return None
    config = _config_of(folder, data, configs)
    if config is None:
        return None
    seed = data.get("seed")
    seed = seed if isinstance(seed, int) else DEFAULT_SEED
    name = str(data.get("name") or folder.path.name)
    recipe_id = next((e.recipe_id for e in _experiments(name, config, seed) if e.id == folder.id), folder.id)
    return Run(name, folder.id, recipe_id, seed, folder, config, state, why)


def _experiments(name: str, config: ExperimentConfig, seed: int) -> Iterator[Experiment]:
    """The config under each command: a run folder does not say which one it was."""
    for endpoint in get_args(Endpoint):
        yield Experiment(name, config, seed, endpoint)


def _config_of(folder: RunFolder, data: Any, configs: _Configs) -> ExperimentConfig | None:
    try:
        return configs.parse(data)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        log.warning("%s is left out: its config is not one of this version (%s)", folder.path, where)
    except (AttributeError, TypeError):
        log.warning("%s is left out: its config is none", folder.path)
    return None
