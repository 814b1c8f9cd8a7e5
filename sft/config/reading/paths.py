"""Local paths in a config, relative to the working directory, the config's folder, or the shipped files.

A path that exists becomes absolute, so that it is valid in every child process. A value that can only be a path and
does not exist is a problem. Any other value (`org/name`, a URL) is left for the Hub. Knows nothing of file contents.
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
# Suffixes of files that can only be local; those that cannot be read are reported when the data is opened.
_FILE_SUFFIXES = (*DATA_SUFFIXES, ".feather", ".xml", ".safetensors")
_WILDCARDS = "*?["
_SYSTEM = ("/proc", "/sys", "/dev")  # walking these folders may never end
_LONGEST_PATH = 400


class Lookup:
    """The folders to search for the paths of a grid's configs, and a cache of the results."""

    def __init__(self, folder: Path) -> None:
        self.folders = tuple(dict.fromkeys((Path.cwd(), folder.resolve(), shipped_root())))
        self.known: dict[tuple[tuple[Path, ...], str], tuple[str | None, str | None]] = {}


class Resolved(NamedTuple):
    """The config's data with absolute paths, and the paths that were not found."""

    data: dict[str, Any]
    problems: list[Problem]


def is_pattern(value: str) -> bool:
    """Return whether a path is a pattern of paths (`part-*.csv`)."""
    return any(wildcard in value for wildcard in _WILDCARDS)


def resolve_paths(data: Mapping[str, Any], folder: Path, lookup: Lookup | None = None) -> Resolved:
    """Return a copy of the data with absolute local paths.

    Args:
        data: a config as parsed; values of a wrong type are left to the sections' checks.
        folder: the config's folder.
        lookup: the folder's lookup, if several configs share it.
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
    """Replace, in place, the scripts of `evaluation.metrics`; other names are registered metrics."""
    evaluation = copy.get("evaluation")
    if isinstance(evaluation, dict) and isinstance(evaluation.get("metrics"), list):
        metrics = list(evaluation["metrics"])
        for index, metric in enumerate(metrics):
            if isinstance(metric, str) and (path := metric_script(metric)) is not None:
                metrics[index] = EVALUATE + search.resolve_file(path, f"evaluation.metrics[{index}]")
        copy["evaluation"] = {**evaluation, "metrics": metrics}


def _resolve_tasks(copy: dict[str, Any], search: _Search) -> None:
    """Replace, in place, the local task files of `evaluation.lm_eval`; other names are tasks of the harness."""
    evaluation = copy.get("evaluation")
    if not isinstance(evaluation, dict):
        return
    lm_eval = evaluation.get("lm_eval")
    if not isinstance(lm_eval, dict) or not isinstance(lm_eval.get("tasks"), list):
        return
    tasks = [
        search.resolve_file(task, f"evaluation.lm_eval.tasks[{index}]")
        if isinstance(task, str) and is_task_path(task)
        else task
        for index, task in enumerate(lm_eval["tasks"])
    ]
    copy["evaluation"] = {**evaluation, "lm_eval": {**lm_eval, "tasks": tasks}}


def _is_builder(dataset: Mapping[str, Any]) -> bool:
    args = dataset.get("args")
    return (
        dataset.get("path") in DATA_FORMATS and isinstance(args, dict) and bool({"data_files", "data_dir"} & set(args))
    )


def _resolve_arguments(dataset: Mapping[str, Any], search: _Search) -> dict[str, Any]:
    """Resolve `data_files` and `data_dir`: local for a builder, inside a local folder, else on the Hub."""
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
    """A search for paths in a list of folders; collects the paths that were not found."""

    def __init__(self, lookup: Lookup, problems: list[Problem], first: Path | None = None) -> None:
        self.folders = lookup.folders if first is None else (first, *lookup.folders)
        self.problems = problems
        self._lookup = lookup

    def within(self, folder: Path) -> _Search:
        """Return the same search with `folder` first."""
        return _Search(self._lookup, self.problems, folder)

    def resolve(self, value: str, where: str) -> str:
        """Return the absolute path if it exists, else the value itself; a problem if it can only be a path."""
        if "://" in value:
            return value
        path, problem = self._look_up(value)
        if path:
            if problem:
                self.problems.append(Problem(where, problem))
            return path
        if _is_clearly_local(value):
            self.problems.append(Problem(where, self._not_found(value)))
        return value

    def resolve_file(self, value: str, where: str) -> str:
        """Resolve a value that is certainly a path or a pattern of paths."""
        if "://" in value:
            return value
        path, problem = self._look_up(value)
        if path is None:
            problem = self._not_found(value)
        if problem:
            self.problems.append(Problem(where, problem))
        return path or value

    def _look_up(self, value: str) -> tuple[str | None, str | None]:
        """Return the path of a value, and why it cannot be used."""
        key = (self.folders, value)
        known = self._lookup.known
        if key not in known:
            path = self._find(value)
            known[key] = (path, None if path is None else _unusable(path))
        return known[key]

    def _find(self, value: str) -> str | None:
        for folder in self.folders:
            try:
                path = folder / Path(value).expanduser()  # an absolute value replaces the folder
                if path.exists():
                    return str(path.resolve())
                if is_pattern(value) and (_is_too_much(_fixed_part(path)) or matches_something(path)):
                    return str(path)
            except (OSError, RuntimeError):  # a name too long, a folder without permission, an unknown home
                continue
        return None

    def _not_found(self, value: str) -> str:
        try:
            path = Path(value).expanduser()
        except RuntimeError:
            return f"{_path_shown(value)} not found; there is no such home folder"
        if path.is_absolute():
            return f"{_path_shown(value)} not found{_nearest([path], Path())}"
        searched = ", ".join(str(folder) for folder in self.folders if folder != shipped_root() or folder == Path.cwd())
        near = _nearest(self.folders, path)
        return f"{_path_shown(value)} not found; searched {searched}{near}"


def _path_shown(value: str) -> str:
    return f'"{shown(value, _LONGEST_PATH)}"'


def _unusable(value: str) -> str | None:
    """Return why an existing path cannot hold rows or weights: reading it might never end."""
    path = _fixed_part(Path(value))
    if _is_too_much(path):
        return f"{_path_shown(value)} is not a folder of data or of a model; name a folder inside it"
    if not path.is_file() and not path.is_dir():
        return f"{_path_shown(value)} is neither a file nor a folder"
    return None


def _fixed_part(path: Path) -> Path:
    """Return the folder in which a pattern is searched, or an existing path itself, even with wildcard characters."""
    fixed = Path(*takewhile(lambda part: not is_pattern(part), path.parts))
    return path if fixed == path or path.exists() else fixed


def _is_too_much(path: Path) -> bool:
    """Return whether a path is the file system's root, a home, or devices and processes (not /dev/shm, a RAM disk)."""
    name = str(path)
    system = (*_SYSTEM, os.path.expanduser("~"))  # noqa: PTH111 - Path's raises where there is no home
    return path.parent == path or name in system or name.startswith(("/proc/", "/sys/"))


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
    """Return `; did you mean "PATH"?` with the existing path nearest to a missing one, or nothing."""
    near = [(candidate, folder) for folder in folders for candidate in _near(folder / path)]
    if not near:
        return ""
    best, folder = max(near, key=lambda pair: pair[0].likeness)
    inside = path != Path() and best.path.is_relative_to(folder)
    return f"; did you mean {_path_shown((best.path.relative_to(folder) if inside else best.path).as_posix())}?"


class _Near(NamedTuple):
    path: Path
    likeness: float


def _near(path: Path) -> list[_Near]:
    """Return similar names in the deepest existing folder of `path`, with the rest of the path if that exists too."""
    whole = path
    parent, name = path.parent, path.name
    try:
        while not parent.is_dir() and parent != parent.parent:
            parent, name = parent.parent, parent.name
        names = [entry.name for entry in parent.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return []
    if len(name) > LONGEST_KEY:
        return []
    rest = whole.relative_to(parent / name)
    matches = [(parent / match, _likeness(name, match)) for match in get_close_matches(name, names, n=1)]
    return [_Near(near / rest if _exists(near / rest) else near, likeness) for near, likeness in matches]


def _likeness(name: str, other: str) -> float:
    return SequenceMatcher(None, name, other).ratio()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
