"""Expand a grid to experiments: apply seeds, find duplicates, and separate finished runs from runs to do.

It uses run folders, not processes.
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
RunStatus = Literal["done", "to run", "failed before"]


@dataclass(frozen=True)
class Plan:
    """The experiments of a grid.

    Args:
        experiments: distinct by id, in the grid's order.
        configurations: number of distinct configs, apart from seeds.
        seeds: the requested seeds.
        duplicates: names of experiments that equal an earlier one, each with the earlier name.
    """

    experiments: tuple[Experiment, ...]
    configurations: int
    seeds: tuple[int, ...]
    duplicates: tuple[tuple[str, str], ...]

    def varying(self) -> str:
        """Return what varies in one line: `shots (0, 8, 16) · init (default, pca)`."""
        settings = varying_settings([experiment.config for experiment in self.experiments])
        parts = []
        for setting in settings:
            values = [value or "none" for value in dict.fromkeys(setting.values) if value != "-"]
            parts.append(f"{setting.name} ({', '.join(values)})")
        return " · ".join(parts)


def make_plan(grid: Grid, seeds: Sequence[int] | None, endpoint: Endpoint = "run-experiment") -> Plan:
    """Expand a grid's configs over the seeds.

    A config's own `seed` comes first, then the command's seeds, then the grid's, then 13. A deterministic experiment
    runs once, whatever the seeds.

    Raises:
        ConfigError: both the command and a config or the grid set seeds.
    """
    _check_one_source_of_seeds(grid, seeds)
    common = tuple(seeds or grid.seeds or (DEFAULT_SEED,))
    by_id: dict[str, Experiment] = {}
    duplicates: list[tuple[str, str]] = []
    for name, config in grid.configs.items():
        for experiment in _of_seeds(name, config, common, endpoint):
            if experiment.id in by_id:
                duplicates.append((experiment.name, by_id[experiment.id].name))
            else:
                by_id[experiment.id] = experiment
    experiments = tuple(by_id.values())
    return Plan(experiments, len({e.recipe_id for e in experiments}), common, tuple(duplicates))


def _of_seeds(name: str, config: ExperimentConfig, seeds: Sequence[int], endpoint: Endpoint) -> list[Experiment]:
    own = (config.seed,) if config.seed is not None else tuple(seeds)
    experiments = [Experiment(name, config, seed, endpoint) for seed in own]
    if not experiments[0].is_random:
        return experiments[:1]
    if len(own) == 1:
        return experiments
    return [experiments[0].of_seed(seed, f"{name} seed={seed}") for seed in own]


def _check_one_source_of_seeds(grid: Grid, seeds: Sequence[int] | None) -> None:
    if seeds is None:
        return
    source = str(grid.source)
    if grid.seeds is not None:
        raise ConfigError(source, [Problem("seeds", "cannot be combined with --seeds; choose one")])
    for name, config in grid.configs.items():
        if config.seed is not None:
            reason = f"{config.seed} cannot be combined with a seed from the command; choose one"
            raise ConfigError(source, [Problem(f"{name}.seed" if len(grid.configs) > 1 else "seed", reason)])


def only(plan: Plan, pattern: str | None) -> tuple[Experiment, ...]:
    """Return the experiments whose name or id matches a glob (`shots=8*`), or all without a glob.

    Raises:
        UserError: no experiment matches.
    """
    if pattern is None:
        return plan.experiments
    chosen = tuple(e for e in plan.experiments if fnmatchcase(e.name, pattern) or fnmatchcase(e.id, pattern))
    if not chosen:
        names = [e.name for e in plan.experiments]
        available = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        hint = did_you_mean(pattern, names)
        raise UserError(f'--only "{pattern}" matches no experiment{hint} (available: {available})')
    return chosen


def run_status(folder: RunFolder, retry_failed: bool, most_halvings: int = 0) -> RunStatus:
    """Return whether a run is done, to run, or failed in a way that the same command would only repeat.

    Killed and interrupted runs, and runs with an error that the user can fix (exit code 2), are retried automatically.
    Runs that failed by themselves, were out of memory or timed out are retried only with `retry_failed`.

    Args:
        folder: folder of the run.
        retry_failed: whether to retry runs that failed by themselves.
        most_halvings: how often the batch can be halved after running out of memory. A run with fewer halvings is to
            run, as its sweep may have been killed before the next attempt.
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
    """Group experiments by model, otherwise in order, so that the model's files stay in the system's cache."""
    groups: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        groups.setdefault(base_key(experiment.config.model), []).append(experiment)
    return [experiment for group in groups.values() for experiment in group]


def write_plan(plan: Plan, store: ResultStore, threads: int | None = None) -> None:
    """Write the experiments of the grid, which the report covers.

    Args:
        plan: plan of the grid.
        store: its results folder.
        threads: threads per experiment, used when the command is repeated; None: unknown.
    """
    entries = b",\n".join(map(json_line, plan_entries(plan, store)))
    number = "" if threads is None else f'"threads": {threads}, '
    head = f'{{"schema_version": {PLAN_VERSION}, {number}"experiments": [\n'
    write_atomic(store.plan_file, head.encode() + entries + b"\n]}\n")


def plan_entries(plan: Plan, store: ResultStore) -> list[dict[str, Any]]:
    """Return the plan as JSON for the report: each experiment's name, ids, seed, folder and config."""
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
    """Return the config for a child process: the values that differ from the defaults, with name and seed.

    `output_dir` becomes a subfolder per run, so that adapters of a sweep do not overwrite each other.
    """
    data: dict[str, Any] = experiment.config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    arguments = data.get("training", {}).get("trainer_args", {})
    if "output_dir" in arguments:
        arguments["output_dir"] = str(Path(arguments["output_dir"]) / experiment.folder_name)
    return {**data, "name": experiment.name, "seed": experiment.seed}
