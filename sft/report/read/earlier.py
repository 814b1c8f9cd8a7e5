"""Finished runs of what an experiment of the plan was before a file of the user's was edited: another id, same config.

Looks only at run folders that the plan does not name.
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
from sft.report.read.runs import Run, what_it_says
from sft.results.store import ResultStore, RunFolder


class Earlier(NamedTuple):
    """A finished run that is not in the plan: its name and id, and what in its config lies in files of the user's.

    `outdated`: it was made by an earlier version, whose ids meant something else.
    """

    name: str
    id: str
    sources: tuple[str, ...]
    outdated: bool = False


def earlier_runs(store: ResultStore, runs: Sequence[Run]) -> tuple[Earlier, ...]:
    """The finished runs of earlier content of the planned ones' files.

    Args:
        store: the results folder.
        runs: those of the plan.
    """
    planned = {run.id for run in runs}
    others = [folder for folder in store.folders() if folder.id not in planned]
    if not others:
        return ()
    known = {_key(run.name, run.seed, _dumped(run)): run.endpoint for run in runs}
    return tuple({one.id: one for one in _matching(others, known)}.values())  # of a copied run one


def _dumped(run: Run) -> dict[str, Any]:
    return run.config.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _matching(folders: Sequence[RunFolder], known: Mapping[str, str]) -> Iterator[Earlier]:
    """Those whose config is a known one; one that another command made is other work, not earlier work."""
    for folder in folders:
        try:
            data = folder.config()
            endpoint = known.get(_key(data.get("name"), data.get("seed"), data))
            result = None if endpoint is None else folder.result()
        except (UserError, OSError, ValueError):  # they cannot be read now
            continue
        if result is not None and result.endpoint == endpoint:
            yield Earlier(result.name, result.id, tuple(_sources(data)), result.id_version < ID_VERSION)


def _key(name: Any, seed: Any, config: Mapping[str, Any]) -> str:
    prompting = _section(config, "prompting")
    if prompting.get("date") == DEFAULT_DATE:  # recorded by runs, left out of a plan
        config = {**config, "prompting": {key: value for key, value in prompting.items() if key != "date"}}
    return json.dumps([name, seed, what_it_says(config)], sort_keys=True)


def _sources(config: Mapping[str, Any]) -> Iterator[str]:
    """What the user may have edited: local files and folders, and plugs, by the name that a person knows them by."""
    arguments = _section(_section(config, "dataset"), "args")
    places = [
        *(_section(config, section).get(key) for section, key in PATH_FIELDS),
        *strings_in(arguments.get("data_files")),
        *strings_in(arguments.get("data_dir")),
        *strings_in(_section(_section(config, "evaluation"), "lm_eval").get("tasks")),
    ]
    yield from (Path(place).name for place in places if isinstance(place, str) and Path(place).is_absolute())
    plugs = [name for path in PLUGIN_SETTINGS for name in strings_in(value_at(config, path))]
    yield from (plug.partition(":")[0] + ".py" for plug in plugs if ":" in plug)


def _section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}
