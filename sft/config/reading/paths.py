"""Local paths in a config: found from the working directory, the config's folder, or the shipped files.

A path that exists becomes absolute, so that children find it wherever they run. What is clearly a path and does not
exist is a problem; anything else (`org/name`, an URL) is left for the hub. Knows nothing of what the paths hold.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from sft.config.sections.evaluation import metric_script
from sft.config.sections.lm_eval import is_task_path
from sft.config.wording import LONGEST_KEY, shown
from sft.errors import Problem
from sft.io import shipped_root
from sft.plugins import COMPRESSED_SUFFIXES, DATA_FORMATS, DATA_SUFFIXES, EVALUATE

PATH_FIELDS = (
    ("dataset", "path"),
    ("model", "name"),
    ("model", "adapter"),
    ("model", "chat_template_from"),
    ("inference", "tokenizer_name"),
    ("evaluation", "tokenizer_name"),
)
# Endings of files that can only be local; some cannot be read, which is said where the data is opened.
_FILE_SUFFIXES = (*DATA_SUFFIXES, ".feather", ".xml", ".safetensors")
_WILDCARDS = "*?["
_SYSTEM = ("/proc", "/sys", "/dev")  # reading these folders through has no end
_LONGEST_PATH = 400


class Lookup:
    """Where the configs of a folder look for paths, and what was found: the many of a grid name the same few."""

    def __init__(self, folder: Path) -> None:
        self.folders = tuple(dict.fromkeys((Path.cwd(), folder.resolve(), shipped_root())))
        self.known: dict[tuple[tuple[Path, ...], str], tuple[str | None, str | None]] = {}


class Resolved(NamedTuple):
    """The config's data with absolute paths, and the paths that were not found."""

    data: dict[str, Any]
    problems: list[Problem]


def is_pattern(value: str) -> bool:
    """Whether a path is a pattern of paths (`part-*.csv`)."""
    return any(sign in value for sign in _WILDCARDS)


def resolve_paths(data: Mapping[str, Any], folder: Path, lookup: Lookup | None = None) -> Resolved:
    """A copy of the data with every local path absolute.

    Args:
        data: a config as parsed; keys of other types are left to the sections' checks.
        folder: where the config lies.
        lookup: of the folder, where it serves several configs.
    """
    search = _Search(lookup or Lookup(folder), [])
    copy = dict(data)
    for section, key in PATH_FIELDS:
        value = copy.get(section, {}).get(key) if isinstance(copy.get(section), dict) else None
        if isinstance(value, str) and value and not (key == "path" and _is_builder(copy[section])):
            copy[section] = {**copy[section], key: search.resolve(value, f"{section}.{key}")}
    dataset = copy.get("dataset")
    if isinstance(dataset, dict) and isinstance(dataset.get("args"), dict):
        copy["dataset"] = {**dataset, "args": _resolve_arguments(dataset, search)}
    _resolve_metrics(copy, search)
    _resolve_tasks(copy, search)
    return Resolved(copy, search.problems)


def _resolve_metrics(copy: dict[str, Any], search: _Search) -> None:
    """Replace, in place, the scripts of `evaluation.metrics`; names are registries'."""
    evaluation = copy.get("evaluation")
    if isinstance(evaluation, dict) and isinstance(evaluation.get("metrics"), list):
        metrics = list(evaluation["metrics"])
        for place, metric in enumerate(metrics):
            if isinstance(metric, str) and (path := metric_script(metric)) is not None:
                metrics[place] = EVALUATE + search.resolve_file(path, f"evaluation.metrics[{place}]")
        copy["evaluation"] = {**evaluation, "metrics": metrics}


def _resolve_tasks(copy: dict[str, Any], search: _Search) -> None:
    """Replace, in place, the local task files of `evaluation.lm_eval`; names are the harness's."""
    evaluation = copy.get("evaluation")
    if not isinstance(evaluation, dict):
        return
    given = evaluation.get("lm_eval")
    if not isinstance(given, dict) or not isinstance(given.get("tasks"), list):
        return
    tasks = [
        search.resolve_file(task, f"evaluation.lm_eval.tasks[{place}]")
        if isinstance(task, str) and is_task_path(task)
        else task
        for place, task in enumerate(given["tasks"])
    ]
    copy["evaluation"] = {**evaluation, "lm_eval": {**given, "tasks": tasks}}


def _is_builder(dataset: Mapping[str, Any]) -> bool:
    args = dataset.get("args")
    return (
        dataset.get("path") in DATA_FORMATS and isinstance(args, dict) and bool({"data_files", "data_dir"} & set(args))
    )


def _resolve_arguments(dataset: Mapping[str, Any], search: _Search) -> dict[str, Any]:
    """`data_files` and `data_dir`: local for a builder, inside the folder for a local folder, else the hub's."""
    args = dict(dataset["args"])
    path = dataset.get("path")
    inside = Path(path) if isinstance(path, str) and Path(path).is_absolute() else None
    if inside is None and not _is_builder(dataset):
        return args
    for key in {"data_files", "data_dir"} & set(args):
        within = search.within(inside) if inside is not None and inside.is_dir() else search
        args[key] = map_texts(args[key], f"dataset.args.{key}", within.resolve_file)
    return args


def map_texts(value: Any, where: str, change: Callable[[str, str], str]) -> Any:
    """A copy of a value with every string in it changed; `change` is given the string and its key path."""
    if isinstance(value, str) and value:
        return change(value, where)
    if isinstance(value, list):
        return [map_texts(item, f"{where}[{position}]", change) for position, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: map_texts(item, f"{where}.{key}", change) for key, item in value.items()}
    return value


def strings_in(value: Any) -> Iterator[str]:
    """The strings in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings_in(item)


class _Search:
    """Looks for paths in some folders, and collects those that it did not find."""

    def __init__(self, lookup: Lookup, problems: list[Problem], first: Path | None = None) -> None:
        self.folders = lookup.folders if first is None else (first, *lookup.folders)
        self.problems = problems
        self._lookup = lookup

    def within(self, folder: Path) -> _Search:
        """The same search, in `folder` first."""
        return _Search(self._lookup, self.problems, folder)

    def resolve(self, value: str, where: str) -> str:
        """The absolute path if it exists, else the value as it is; a problem if it can only be a path."""
        if "://" in value:
            return value
        found, trouble = self._look_up(value)
        if found:
            if trouble:
                self.problems.append(Problem(where, trouble))
            return found
        if _is_clearly_local(value):
            self.problems.append(Problem(where, self._not_found(value)))
        return value

    def resolve_file(self, value: str, where: str) -> str:
        """As `resolve`, for a value that is a path or a pattern of paths whatever it looks like."""
        if "://" in value:
            return value
        found, trouble = self._look_up(value)
        if found is None:
            trouble = self._not_found(value)
        if trouble:
            self.problems.append(Problem(where, trouble))
        return found or value

    def _look_up(self, value: str) -> tuple[str | None, str | None]:
        """Where a value lies, and why that cannot be used."""
        key = (self.folders, value)
        known = self._lookup.known
        if key not in known:
            found = self._find(value)
            known[key] = (found, None if found is None else _unusable(found))
        return known[key]

    def _find(self, value: str) -> str | None:
        for folder in self.folders:
            try:
                path = folder / Path(value).expanduser()  # an absolute value replaces the folder
                if path.exists():
                    return str(path.resolve())
                if is_pattern(value) and (_is_too_much(_fixed_part(path)) or matches_something(path)):
                    return str(path)
            except (OSError, RuntimeError):  # a name too long, a folder that may not be entered, the home of nobody
                continue
        return None

    def _not_found(self, value: str) -> str:
        try:
            path = Path(value).expanduser()
        except RuntimeError:
            return f"{_path_shown(value)} not found: there is no such home folder"
        if path.is_absolute():
            return f"{_path_shown(value)} not found{_nearest([path], Path())}"
        places = ", ".join(str(folder) for folder in self.folders if folder != shipped_root() or folder == Path.cwd())
        near = _nearest(self.folders, path)
        return f"{_path_shown(value)} not found; looked in {places}{near}"


def _path_shown(value: str) -> str:
    return f'"{shown(value, _LONGEST_PATH)}"'


def _unusable(found: str) -> str | None:
    """Why something that exists is nothing to read rows or weights from: reading it might have no end."""
    path = _fixed_part(Path(found))
    if _is_too_much(path):
        return f"{_path_shown(found)} is no folder of data or of a model: name the one inside of it"
    if not path.is_file() and not path.is_dir():
        return f"{_path_shown(found)} is neither a file nor a folder"
    return None


def _fixed_part(path: Path) -> Path:
    """The folder in which a pattern is searched; a path without wildcards itself, even where it has their signs."""
    fixed = Path(*takewhile(lambda part: not is_pattern(part), path.parts))
    return path if fixed == path or path.exists() else fixed


def _is_too_much(path: Path) -> bool:
    """The root of the file system, a whole home, or devices and processes (not /dev/shm, which is memory for files)."""
    place = str(path)
    whole = (*_SYSTEM, os.path.expanduser("~"))  # noqa: PTH111 - Path's raises where there is no home
    return path.parent == path or place in whole or place.startswith(("/proc/", "/sys/"))


def matches_something(pattern: Path) -> bool:
    """Whether anything exists that a pattern of paths matches."""
    return next(glob.iglob(str(pattern), recursive=True), None) is not None  # noqa: PTH207 - it may be absolute


def _is_clearly_local(value: str) -> bool:
    name = value.lower().removesuffix(next((end for end in COMPRESSED_SUFFIXES if value.lower().endswith(end)), ""))
    return (
        value.startswith((".", "/", "~"))
        or "\\" in value
        or value.count("/") > 1
        or value.endswith("/")
        or name.endswith(_FILE_SUFFIXES)
        or Path(value).is_absolute()
    )


def _nearest(folders: Sequence[Path], path: Path) -> str:
    """What exists and is nearest to where a path was looked for, as it would be written instead of it."""
    near = [(found, folder) for folder in folders for found in _near(folder / path)]
    if not near:
        return ""
    best, folder = max(near, key=lambda pair: pair[0].likeness)
    inside = path != Path() and best.place.is_relative_to(folder)
    return f"; did you mean {_path_shown((best.place.relative_to(folder) if inside else best.place).as_posix())}?"


class _Near(NamedTuple):
    place: Path
    likeness: float


def _near(path: Path) -> list[_Near]:
    """Near names in the deepest folder of `path` that exists; with the rest of the path where that is there too."""
    whole = path
    parent, name = path.parent, path.name
    try:
        while not parent.is_dir() and parent != parent.parent:
            parent, name = parent.parent, parent.name
        there = [entry.name for entry in parent.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return []
    if len(name) > LONGEST_KEY:
        return []
    rest = whole.relative_to(parent / name)
    places = ((parent / one, SequenceMatcher(None, name, one).ratio()) for one in get_close_matches(name, there, n=1))
    return [_Near(place / rest if _exists(place / rest) else place, likeness) for place, likeness in places]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
