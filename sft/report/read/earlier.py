"""Finished runs of planned experiments from before the user edited a file: the same config with another id.

Reads only run folders that are not in the plan.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sft.config.checking.checks import value_at
from sft.config.identity import ID_VERSION
from sft.config.reading.paths import PATH_FIELDS, strings_in
from sft.config.sections.prompting import DEFAULT_DATE
from sft.errors import UserError
from sft.plugins import PLUGIN_SETTINGS
from sft.report.read.runs import Run, shared_config
from sft.results.store import ResultStore, RunFolder


class Earlier(NamedTuple):
    """A finished run that is not in the plan: name, id, and the user's files that its config refers to.

    `outdated`: an earlier version made it, whose ids had another meaning.
    """

    name: str
    id: str
    sources: tuple[str, ...]
    outdated: bool = False


def earlier_runs(store: ResultStore, runs: Sequence[Run]) -> tuple[Earlier, ...]:
    """Return the finished runs with earlier content of the planned runs' files.

    Args:
        store: the results folder.
        runs: runs of the plan.
    """
    planned = {run.id for run in runs}
    others = [folder for folder in store.folders() if folder.id not in planned]
    if not others:
        return ()
    known = {_key(run.name, run.seed, _dumped(run)): run.endpoint for run in runs}
    return tuple({one.id: one for one in _matching(others, known)}.values())  # each copied run once


def _dumped(run: Run) -> dict[str, Any]:
    return run.config.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _matching(folders: Sequence[RunFolder], known: Mapping[str, str]) -> Iterator[Earlier]:
    """Yield the runs with the config and the command of a planned run."""
    for folder in folders:
        try:
            data = folder.config()
            endpoint = known.get(_key(data.get("name"), data.get("seed"), data))
            result = None if endpoint is None else folder.result()
        except (UserError, OSError, ValueError):  # not readable now
            continue
        if result is not None and result.endpoint == endpoint:
            yield Earlier(result.name, result.id, tuple(_sources(data)), result.id_version < ID_VERSION)


def _key(name: Any, seed: Any, config: Mapping[str, Any]) -> str:
    prompting = _section(config, "prompting")
    if prompting.get("date") == DEFAULT_DATE:  # runs record it, plans do not
        config = {**config, "prompting": {key: value for key, value in prompting.items() if key != "date"}}
    return json.dumps([name, seed, shared_config(config)], sort_keys=True)


def _sources(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of what the user may have edited: local files, folders and plugins."""
    arguments = _section(_section(config, "dataset"), "args")
    paths = [
        *(_section(config, section).get(key) for section, key in PATH_FIELDS),
        *strings_in(arguments.get("data_files")),
        *strings_in(arguments.get("data_dir")),
        *strings_in(_section(_section(config, "evaluation"), "lm_eval").get("tasks")),
    ]
    yield from (Path(path).name for path in paths if isinstance(path, str) and Path(path).is_absolute())
    plugins = [name for path in PLUGIN_SETTINGS for name in strings_in(value_at(config, path))]
    yield from (plugin.partition(":")[0] + ".py" for plugin in plugins if ":" in plugin)


def _section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}
