"""All that can be known to be wrong with a grid before anything runs, without a heavy import.

Knows configs and the names of plugs; not data (see `preflight.py`).
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
from sft.sweep.jobs import Plan, make_plan


def load_plan(
    path: Path,
    seeds: Sequence[int] | None,
    endpoint: Endpoint | None,
    max_experiments: int = 10_000,
    begun: Evaluation | None = None,
) -> Plan:
    """Read a grid or config, check it whole, and expand it.

    Args:
        path: JSON or Jsonnet.
        seeds: given on the command line, or None.
        endpoint: the command it is for; None: whichever its sections are enough for.
        max_experiments: refuse more than that.
        begun: the grid's evaluation, where it was begun earlier.

    Raises:
        ConfigError: every problem of every experiment at once.
        MissingPackageError: tasks of lm-eval are to be asked, and it is not installed.
    """
    grid = load_grid(path, max_experiments, begun)
    endpoint = endpoint or _fitting_endpoint(grid)
    try:
        with hashed_once():
            plan = make_plan(grid, seeds, endpoint)
    except OSError as error:  # while hashing what the configs name
        what = f"{quoted(error.filename)} cannot be read: {error.strerror}"
        raise ConfigError(str(path), [Problem(_key_of(str(error.filename), grid), what)]) from None
    check_grid(grid, endpoint)
    if len(plan.experiments) > max_experiments:
        what = f"{len(plan.experiments)} experiments with the seeds; at most {max_experiments} (--max-experiments)"
        raise ConfigError(str(path), [Problem("seeds", what)])
    return plan


def _key_of(file: str, grid: Grid) -> str:
    """The first setting that names a file, or the folder that it is in."""
    for config in grid.configs.values():
        for key, value in settings(config).items():
            named = str(value).removeprefix("evaluate:")
            if named and file.startswith(named):
                return key
    return "configs"


def check_grid(grid: Grid, endpoint: Endpoint) -> None:
    """Refuse configs that lack a section of the command.

    Raises:
        ConfigError: every problem at once; one that several experiments share is told once.
        MissingPackageError: tasks of lm-eval are to be asked, and it is not installed.
    """
    found: dict[Problem, list[str]] = {}
    for name, config in grid.configs.items():
        for problem in check_endpoint(config, endpoint):
            found.setdefault(problem, []).append(name)
    if found:
        several = len(grid.configs) > 1
        raise ConfigError(str(grid.source), [_told_once(p, names, several) for p, names in found.items()])
    if endpoint in ("evaluate", "run-experiment") and any(
        config.evaluation.lm_eval for config in grid.configs.values()
    ):
        require_lm_eval()


def _fitting_endpoint(grid: Grid) -> Endpoint:
    """The command that the configs are meant for, as far as their sections tell."""
    configs = grid.configs.values()
    if all(config.inference is None for config in configs):
        return "train"
    if all(c.lora is None and c.adapter is None and c.training is None and c.dataset.shots != 0 for c in configs):
        return "evaluate"
    return "run-experiment"


def _told_once(problem: Problem, names: Sequence[str], several: bool) -> Problem:
    if not several:
        return problem
    more = f" (and in {len(names) - 1} more experiments)" if len(names) > 1 else ""
    return Problem(f"{names[0]}: {problem.where}", problem.what + more)
