"""Read configs and grids from JSON and Jsonnet; every problem of a file is reported at once.

Imports no library for tensors or tables, so that `validate` is fast.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sft.config.checking.checks import check_endpoint, config_notices, config_problems
from sft.config.checking.schema_errors import schema_problems
from sft.config.reading.json_text import read_json
from sft.config.reading.jsonnet import JSONNET_SUFFIXES, MAX_EXPERIMENTS, Evaluation, Limits, evaluate_jsonnet
from sft.config.reading.paths import Lookup, resolve_paths
from sft.config.reading.values import can_be_walked, value_problems
from sft.config.sections.schema import ExperimentConfig
from sft.config.wording import config_error, near, not_allowed, quoted, shown
from sft.errors import ConfigError, Problem
from sft.log import get_logger
from sft.secrets import remember

__all__ = ["Grid", "check_endpoint", "load_config", "load_grid", "parse_config"]

_GRID_KEYS = ("configs", "seeds", "name", "description", "$schema")
_NUMBERS = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?)", re.ASCII)
_LONGEST_NAME = 1000
_logger = get_logger(__name__)


@dataclass(frozen=True)
class Grid:
    """The experiments of one file.

    Args:
        source: the file.
        configs: by name, in the order of the file (Jsonnet sorts them).
        seeds: the file's own seeds; None if it has none.
    """

    source: Path
    configs: dict[str, ExperimentConfig]
    seeds: tuple[int, ...] | None = None


def load_config(path: Path, needs: Sequence[str] = ()) -> ExperimentConfig:
    """Load the only config of a JSON or Jsonnet file.

    Args:
        path: Jsonnet if it ends in `.jsonnet` or `.libsonnet`, else JSON.
        needs: required sections, beyond those that every config has.

    Raises:
        ConfigError: with all problems.
    """
    data = _read(path, Limits())
    if "configs" in data:
        grid = _grid(path, data, MAX_EXPERIMENTS)
        if len(grid.configs) != 1:
            what = f"expected one experiment, got {len(grid.configs)}; use run-experiments"
            raise ConfigError(str(path), [Problem("configs", what)])
        config = next(iter(grid.configs.values()))
    else:
        config = parse_config(_named(data, path.stem), str(path), path.parent)
    if missing := [Problem(need, "is missing") for need in needs if getattr(config, need) is None]:
        raise ConfigError(str(path), missing)
    return config


def load_grid(
    path: Path,
    max_experiments: int = MAX_EXPERIMENTS,
    begun: Evaluation | None = None,
) -> Grid:
    """Load the experiments of a JSON or Jsonnet file: `{"configs": {NAME: config}, "seeds": […]}` or one config.

    Args:
        path: the file.
        max_experiments: refuse more experiments (configs times seeds).
        begun: the file's evaluation, if it was started earlier (`begin_evaluation`).

    Raises:
        ConfigError: with all problems of all configs.
    """
    data = _read(path, Limits.for_grid(max_experiments), begun)
    return _grid(path, data, max_experiments)


def parse_config(data: Mapping[str, Any], source: str, folder: Path) -> ExperimentConfig:
    """Check parsed data and return its config.

    Args:
        data: the config's object.
        source: its name in messages.
        folder: relative paths are searched here after the working directory.

    Raises:
        ConfigError: with all problems.
    """
    parsed = _parse(data, folder)
    if isinstance(parsed, list):
        raise config_error(source, parsed)
    for notice in config_notices(data):
        _logger.warning("%s: %s", source, notice)
    return parsed


def _parse(data: Any, folder: Path, lookup: Lookup | None = None) -> ExperimentConfig | list[Problem]:
    """Return the config, or its problems in the order of the keys."""
    if not isinstance(data, dict):
        return [Problem("", f"expected an object, got {quoted(data)}")]
    unusable = value_problems(data)
    if not can_be_walked(unusable):
        return unusable
    remember(data)  # so that no message shows its secrets
    resolved = resolve_paths(data, folder, lookup)
    problems = [*config_problems(data), *resolved.problems, *unusable]
    try:
        config = ExperimentConfig.model_validate(resolved.data)
    except ValidationError as error:
        first = schema_problems(error, data)
        reported = {problem.where for problem in first}
        problems = [*first, *(problem for problem in problems if problem.where not in reported)]
    else:
        if not problems:
            return config
    order = {key: position for position, key in enumerate(data)}
    return sorted(problems, key=lambda problem: order.get(problem.where.split(".")[0], len(order)))


def _named(data: Any, name: str) -> Any:
    return {**data, "name": name} if isinstance(data, dict) and data.get("name") is None else data


def _grid(path: Path, data: dict[str, Any], most: int) -> Grid:
    if "configs" not in data:
        _refuse_bare_grid(path, data)
        name = data.get("name")
        usable = isinstance(name, str) and not list(_name_problems([name], "name"))
        data = {"configs": {name if usable else path.stem: data}}
    configs, seeds = data["configs"], data.get("seeds")
    if problems := [*_grid_problems(data), *_seed_problems(seeds)]:
        raise config_error(str(path), problems)
    if (count := len(configs) * len(seeds or [None])) > most:
        what = f"expected at most {most} experiments, got {count}; reduce the grid, or raise --max-experiments"
        raise ConfigError(str(path), [Problem("configs", what)])
    lookup = Lookup(path.parent)
    parsed = {name: _parse(_named(config, name), path.parent, lookup) for name, config in configs.items()}
    good = {name: config for name, config in parsed.items() if isinstance(config, ExperimentConfig)}
    bad = {name: problems for name, problems in parsed.items() if isinstance(problems, list)}
    if seeds is not None:
        twice = [Problem("seed", "cannot be combined with the grid's seeds; remove one")]
        bad |= {name: twice for name, config in good.items() if config.seed is not None}
    if bad:
        raise config_error(str(path), _merged(bad, single=len(configs) == 1))
    for notice in dict.fromkeys(notice for config in configs.values() for notice in config_notices(config)):
        _logger.warning("%s: %s", path, notice)
    return Grid(path, good, tuple(seeds) if seeds is not None else None)


def _refuse_bare_grid(path: Path, data: Mapping[str, Any]) -> None:
    """Refuse `{NAME: config}` without `configs` in one line, instead of one unknown key for each name."""
    if data and all(isinstance(value, dict) and "dataset" in value for value in data.values()):
        what = 'is missing; write a grid as {"configs": {NAME: config}}'
        raise ConfigError(str(path), [Problem("configs", what)])


def _grid_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    for key in data:
        if key not in _GRID_KEYS:
            meant = near(key, _GRID_KEYS) or f" of a grid (known: {', '.join(_GRID_KEYS)})"
            yield Problem(shown(key), f"unknown key{meant}")
    configs = data["configs"]
    if not isinstance(configs, dict):
        yield Problem("configs", not_allowed(configs, "an object {NAME: config}"))
    elif not configs:
        yield Problem("configs", "expected at least one experiment, got {}")
    else:
        yield from _name_problems(configs, "configs")


def _name_problems(names: Iterable[str], where: str) -> Iterator[Problem]:
    """Check names, which appear in tables, reports and folders."""
    for name in names:
        if not name.strip():
            yield Problem(where, "expected a non-empty name for each experiment")
        elif len(name) > _LONGEST_NAME:
            yield Problem(where, f"expected a name of at most {_LONGEST_NAME} characters, got {quoted(name)}")
        elif unusable := value_problems(name):
            yield Problem(where, f"the name {quoted(name)} {unusable[0].what}")


def _seed_problems(seeds: Any) -> Iterator[Problem]:
    if seeds is None:
        return
    possible = "a list of different integers from 0 to 4294967295"
    are_integers = isinstance(seeds, list) and all(isinstance(s, int) and not isinstance(s, bool) for s in seeds)
    if not are_integers or not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= 2**32:
        yield Problem("seeds", not_allowed(seeds, possible))


def _merged(bad: Mapping[str, Sequence[Problem]], single: bool) -> list[Problem]:
    """Return the problems of several experiments; a problem that many share is reported once."""
    sharing: dict[Problem, list[str]] = {}
    for name, problems in bad.items():
        for problem in problems:
            sharing.setdefault(problem, []).append(name)
    if single:
        return [problem if problem.where else Problem("configs", problem.what) for problem in sharing]
    return [
        Problem(
            f"{shown(names[0])}: {problem.where}" if problem.where else f"configs.{shown(names[0])}",
            problem.what + _others(len(names) - 1),
        )
        for problem, names in sharing.items()
    ]


def _others(count: int) -> str:
    return f" (and {count} more experiment{'s' if count > 1 else ''})" if count else ""


def _read(path: Path, limits: Limits, begun: Evaluation | None = None) -> dict[str, Any]:
    """Read the top-level object of a JSON or Jsonnet file."""
    if not path.exists():
        raise _error(path, f"no such file{_near_file(path)}")
    if not path.is_file():
        raise _error(path, "is not a file")
    if begun is not None:
        data = _in_natural_order(begun.value())
    elif path.suffix in JSONNET_SUFFIXES:
        data = _in_natural_order(evaluate_jsonnet(path, limits))
    else:
        data = _parse_file(path, limits.output_bytes)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}:1:1", [Problem("", f"expected an object at the top level, got {quoted(data)}")])
    return data


def _in_natural_order(data: Any) -> Any:
    """Sort the names by their numbers: Jsonnet sorts them as strings, `shots=16` before `shots=8`."""
    if isinstance(data, dict) and isinstance(configs := data.get("configs"), dict):
        return {**data, "configs": {name: configs[name] for name in sorted(configs, key=_natural)}}
    return data


def _natural(name: str) -> list[tuple[int, float, str]]:
    return [(0, float(part), "") if part[:1].isdigit() else (1, 0.0, part) for part in _NUMBERS.split(name) if part]


def _near_file(path: Path) -> str:
    try:
        return near(path.name, sorted(entry.name for entry in path.parent.iterdir()))
    except OSError:
        return ""


def _parse_file(path: Path, most: int) -> Any:
    try:
        if path.stat().st_size > most:
            raise ConfigError(f"{path}:1:1", [Problem("", f"expected a file of at most {most >> 20} MiB")])
        content = path.read_bytes()
    except OSError as error:
        raise _error(path, f"cannot be read: {error.strerror}") from None
    return read_json(content, str(path))


def _error(path: Path, what: str) -> ConfigError:
    return ConfigError(str(path), [Problem("", what)])
