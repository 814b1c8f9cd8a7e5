"""Check a grid before anything runs, without slow imports.

It checks configs and the names of plugins, not data (see `preflight.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sft.config.reading.jsonnet import Evaluation
from sft.config.reading.load import Grid, check_endpoint, load_grid
from sft.config.sections.lm_eval import require_lm_eval
from sft.config.sections.schema import Endpoint
from sft.config.varying import settings
from sft.config.wording import quoted
from sft.errors import ConfigError, Problem
from sft.io import hashed_once
from sft.sweep.planning.jobs import Plan, make_plan


def load_plan(
    path: Path,
    seeds: Sequence[int] | None,
    endpoint: Endpoint | None,
    max_experiments: int = 10_000,
    begun: Evaluation | None = None,
) -> Plan:
    """Read a grid or config, check it completely, and expand it.

    Args:
        path: path of a JSON or Jsonnet file.
        seeds: seeds from the command line, or None.
        endpoint: the command; None: the command that the sections suffice for.
        max_experiments: maximum number of experiments.
        begun: the evaluation of the grid, if it was started earlier.

    Raises:
        ConfigError: every problem of every experiment at once.
        MissingPackageError: the config has tasks of lm-eval, but it is not installed.
    """
    grid = load_grid(path, max_experiments, begun)
    endpoint = endpoint or _endpoint_for(grid)
    try:
        with hashed_once():
            plan = make_plan(grid, seeds, endpoint)
    except OSError as error:  # while hashing files named in the configs
        reason = f"{quoted(error.filename)} cannot be read: {error.strerror}"
        raise ConfigError(str(path), [Problem(_key_of(str(error.filename), grid), reason)]) from None
    check_grid(grid, endpoint)
    if len(plan.experiments) > max_experiments:
        reason = (
            f"expected at most {max_experiments} experiments (--max-experiments), "
            f"got {len(plan.experiments)} with all seeds"
        )
        raise ConfigError(str(path), [Problem("seeds", reason)])
    return plan


def _key_of(file: str, grid: Grid) -> str:
    """Return the first setting that names a file or its folder."""
    for config in grid.configs.values():
        for key, value in settings(config).items():
            path = str(value).removeprefix("evaluate:")
            if path and file.startswith(path):
                return key
    return "configs"


def check_grid(grid: Grid, endpoint: Endpoint) -> None:
    """Raise if configs lack a section of the command.

    Raises:
        ConfigError: every problem at once; one that several experiments share is reported once.
        MissingPackageError: the config has tasks of lm-eval, but it is not installed.
    """
    problems: dict[Problem, list[str]] = {}
    for name, config in grid.configs.items():
        for problem in check_endpoint(config, endpoint):
            problems.setdefault(problem, []).append(name)
    if problems:
        several = len(grid.configs) > 1
        raise ConfigError(str(grid.source), [_reported_once(p, names, several) for p, names in problems.items()])
    if endpoint in ("evaluate", "run-experiment") and any(
        config.evaluation.lm_eval for config in grid.configs.values()
    ):
        require_lm_eval()


def _endpoint_for(grid: Grid) -> Endpoint:
    """Return the command that the sections of the configs suffice for."""
    configs = grid.configs.values()
    if all(config.inference is None for config in configs):
        return "train"
    if all(c.lora is None and c.adapter is None and c.training is None and c.dataset.shots != 0 for c in configs):
        return "evaluate"
    return "run-experiment"


def _reported_once(problem: Problem, names: Sequence[str], several: bool) -> Problem:
    if not several:
        return problem
    more = f" (and in {len(names) - 1} more experiments)" if len(names) > 1 else ""
    return Problem(f"{names[0]}: {problem.where}", problem.what + more)
