"""From a grid to experiments: seeds expanded, duplicates found, what is done told from what is to run.

Knows run folders, not processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from sft.config.experiment import Experiment
from sft.config.reading.load import Grid
from sft.config.sections.model import base_key
from sft.config.sections.schema import DEFAULT_SEED, Endpoint, ExperimentConfig
from sft.config.varying import varying_settings
from sft.errors import ConfigError, Problem, UserError, did_you_mean
from sft.io import json_line, write_atomic
from sft.results.store import ResultStore, RunFolder

PLAN_VERSION = 1
Standing = Literal["done", "to run", "failed before"]


@dataclass(frozen=True)
class Plan:
    """The experiments of a grid.

    Args:
        experiments: distinct by id, in the grid's order.
        configurations: how many distinct configs there are, seeds aside.
        seeds: the seeds that were asked for.
        duplicates: names that turned out to be the same work as an earlier one, with that one's name.
    """

    experiments: tuple[Experiment, ...]
    configurations: int
    seeds: tuple[int, ...]
    duplicates: tuple[tuple[str, str], ...]

    def varying(self) -> str:
        """What varies, in one line: `shots (0, 8, 16) · init (default, pca)`."""
        settings = varying_settings([experiment.config for experiment in self.experiments])
        parts = []
        for setting in settings:
            values = [value or "none" for value in dict.fromkeys(setting.values) if value != "-"]
            parts.append(f"{setting.name} ({', '.join(values)})")
        return " · ".join(parts)


def make_plan(grid: Grid, seeds: Sequence[int] | None, endpoint: Endpoint = "run-experiment") -> Plan:
    """Expand a grid's configs over the seeds.

    A config's own `seed` stands for itself; else the command's seeds, else the grid's, else 13. An experiment in which
    nothing is random runs once, whatever the seeds.

    Raises:
        ConfigError: seeds given by the command as well as by a config or the grid.
    """
    _refuse_two_seeds(grid, seeds)
    common = tuple(seeds or grid.seeds or (DEFAULT_SEED,))
    found: dict[str, Experiment] = {}
    duplicates: list[tuple[str, str]] = []
    for name, config in grid.configs.items():
        for experiment in _of_seeds(name, config, common, endpoint):
            if experiment.id in found:
                duplicates.append((experiment.name, found[experiment.id].name))
            else:
                found[experiment.id] = experiment
    experiments = tuple(found.values())
    return Plan(experiments, len({e.recipe_id for e in experiments}), common, tuple(duplicates))


def _of_seeds(name: str, config: ExperimentConfig, seeds: Sequence[int], endpoint: Endpoint) -> list[Experiment]:
    own = (config.seed,) if config.seed is not None else tuple(seeds)
    experiments = [Experiment(name, config, seed, endpoint) for seed in own]
    if not experiments[0].is_random:
        return experiments[:1]
    if len(own) == 1:
        return experiments
    return [experiments[0].of_seed(seed, f"{name} seed={seed}") for seed in own]


def _refuse_two_seeds(grid: Grid, seeds: Sequence[int] | None) -> None:
    if seeds is None:
        return
    source = str(grid.source)
    if grid.seeds is not None:
        raise ConfigError(
            source, [Problem("seeds", "the grid sets seeds and --seeds does too: give them in one place")]
        )
    for name, config in grid.configs.items():
        if config.seed is not None:
            what = f"{config.seed}: the config sets a seed and the command does too: give it in one place"
            raise ConfigError(source, [Problem(f"{name}.seed" if len(grid.configs) > 1 else "seed", what)])


def only(plan: Plan, pattern: str | None) -> tuple[Experiment, ...]:
    """The experiments whose name or id matches a glob (`shots=8*`); all without one.

    Raises:
        UserError: none does.
    """
    if pattern is None:
        return plan.experiments
    chosen = tuple(e for e in plan.experiments if fnmatchcase(e.name, pattern) or fnmatchcase(e.id, pattern))
    if not chosen:
        names = [e.name for e in plan.experiments]
        some = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise UserError(f'--only "{pattern}" matches no experiment{did_you_mean(pattern, names)} (there are: {some})')
    return chosen


def standing(folder: RunFolder, retry_failed: bool, most_halvings: int = 0) -> Standing:
    """Return whether a run is done, is to run, or failed in a way that the same command would only repeat.

    Runs that were killed or interrupted, and those that the user had to mend something for (exit code 2), are tried
    again by themselves; those that failed by themselves, ran out of memory or time only with `retry_failed`.

    Args:
        folder: of the run.
        retry_failed: also run those that failed by themselves.
        most_halvings: how often the batch of a run that is out of memory may be halved. Such a run is to run until its
            batch was halved that often: the sweep may have been killed before it could start the next try.
    """
    if folder.is_done():
        return "done"
    state = folder.state()
    if state is None or retry_failed:
        return "to run"
    if state.state == "oom" and state.halvings < most_halvings:
        return "to run"
    if state.state in ("oom", "timeout"):
        return "failed before"
    if state.state == "failed" and state.exit_code == 1:
        return "failed before"
    return "to run"


def by_model(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Those that share a model one after the other, else in the order given: its files stay in the system's cache."""
    groups: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        groups.setdefault(base_key(experiment.config.model), []).append(experiment)
    return [experiment for group in groups.values() for experiment in group]


def write_plan(plan: Plan, store: ResultStore, threads: int | None = None) -> None:
    """Note which experiments the grid has: the report covers these.

    Args:
        plan: of the grid.
        store: its results folder.
        threads: of each experiment, for the same command again; None: not known.
    """
    entries = b",\n".join(map(json_line, plan_entries(plan, store)))
    number = "" if threads is None else f'"threads": {threads}, '
    head = f'{{"schema_version": {PLAN_VERSION}, {number}"experiments": [\n'
    write_atomic(store.plan_file, head.encode() + entries + b"\n]}\n")


def plan_entries(plan: Plan, store: ResultStore) -> list[dict[str, Any]]:
    """The plan as JSON, for the report: each experiment's name, ids, seed, folder and config."""
    return [
        {
            "name": experiment.name,
            "id": experiment.id,
            "recipe_id": experiment.recipe_id,
            "seed": experiment.seed,
            "endpoint": experiment.endpoint,
            "folder": store.folder(experiment.id, experiment.slug).path.name,
            "config": config_of(experiment),
        }
        for experiment in plan.experiments
    ]


def config_of(experiment: Experiment) -> dict[str, Any]:
    """The config that a child process is started with: what differs from the defaults, with the name and the seed.

    An `output_dir` becomes a folder of the run's own in it, so that the adapters of a sweep never meet.
    """
    data: dict[str, Any] = experiment.config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    arguments = data.get("training", {}).get("trainer_args", {})
    if "output_dir" in arguments:
        arguments["output_dir"] = str(Path(arguments["output_dir"]) / experiment.folder_name)
    return {**data, "name": experiment.name, "seed": experiment.seed}
