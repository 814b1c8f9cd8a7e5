"""Local paths in a config: found from the working directory, the config's folder, or the shipped files.

A path that exists becomes absolute, so that children find it wherever they run. What is clearly a path and does not
exist is a problem; anything else (`org/name`, an URL) is left for the hub. Knows nothing of what the paths hold.
"""

from __future__ import annotations

import glob
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from sft.errors import Problem
from sft.io import shipped_root

PATH_FIELDS = (
    ("dataset", "path"),
    ("model", "name"),
    ("model", "adapter"),
    ("model", "chat_template_from"),
    ("inference", "tokenizer_name"),
    ("evaluation", "tokenizer_name"),
)
_DATA_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".parquet", ".arrow", ".feather", ".xml", ".safetensors")
_COMPRESSED = (".gz", ".zst", ".xz", ".bz2", ".zip")
# Builders that `datasets` itself has: with one of these as dataset.path, data_files are local.
_BUILDERS = ("csv", "json", "parquet", "arrow", "text", "pandas", "xml")
_WILDCARDS = "*?["


class Resolved(NamedTuple):
    """The config's data with absolute paths, and the paths that were not found."""

    data: dict[str, Any]
    problems: list[Problem]


def is_pattern(value: str) -> bool:
    """Whether a path is a pattern of paths (`part-*.csv`)."""
    return any(sign in value for sign in _WILDCARDS)


def plug_paths(folder: Path) -> list[str]:
    """Put the config's folder and the working directory on the import path, for `"module:function"` plugs.

    They come last, so that a file there cannot hide a library; the working directory before the other, as for all
    paths, so that every process that serves one command finds the same file. Returns both.
    """
    places = [str(Path.cwd()), str(folder.resolve())]
    sys.path.extend(place for place in dict.fromkeys(places) if place not in sys.path)
    return places


def resolve_paths(data: Mapping[str, Any], folder: Path) -> Resolved:
    """A copy of the data with every local path absolute.

    Args:
        data: a config as parsed; keys of other types are left to the sections' checks.
        folder: where the config lies.
    """
    search = _Search(tuple(dict.fromkeys((Path.cwd(), folder.resolve(), shipped_root()))))
    copy = dict(data)
    for section, key in PATH_FIELDS:
        value = copy.get(section, {}).get(key) if isinstance(copy.get(section), dict) else None
        if isinstance(value, str) and value and not (key == "path" and _is_builder(copy[section])):
            copy[section] = {**copy[section], key: search.resolve(value, f"{section}.{key}")}
    dataset = copy.get("dataset")
    if isinstance(dataset, dict) and isinstance(dataset.get("args"), dict):
        copy["dataset"] = {**dataset, "args": _resolve_arguments(dataset, search)}
    return Resolved(copy, search.problems)


def _is_builder(dataset: Mapping[str, Any]) -> bool:
    args = dataset.get("args")
    return dataset.get("path") in _BUILDERS and isinstance(args, dict) and bool({"data_files", "data_dir"} & set(args))


def _resolve_arguments(dataset: Mapping[str, Any], search: _Search) -> dict[str, Any]:
    """`data_files` and `data_dir`: local for a builder, inside the folder for a local folder, else the hub's."""
    args = dict(dataset["args"])
    path = dataset.get("path")
    inside = Path(path) if isinstance(path, str) and Path(path).is_absolute() else None
    if inside is None and not _is_builder(dataset):
        return args
    for key in {"data_files", "data_dir"} & set(args):
        within = search.within(inside) if inside is not None and inside.is_dir() else search
        args[key] = _map_texts(args[key], f"dataset.args.{key}", within.resolve_file)
    return args


def _map_texts(value: Any, where: str, change: Callable[[str, str], str]) -> Any:
    if isinstance(value, str) and value:
        return change(value, where)
    if isinstance(value, list):
        return [_map_texts(item, f"{where}[{position}]", change) for position, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: _map_texts(item, f"{where}.{key}", change) for key, item in value.items()}
    return value


class _Search:
    """Looks for paths in some folders, and collects those that it did not find."""

    def __init__(self, folders: Sequence[Path], problems: list[Problem] | None = None) -> None:
        self.folders = folders
        self.problems: list[Problem] = [] if problems is None else problems

    def within(self, folder: Path) -> _Search:
        """The same search, in `folder` first."""
        return _Search((folder, *self.folders), self.problems)

    def resolve(self, value: str, where: str) -> str:
        """The absolute path if it exists, else the value as it is; a problem if it can only be a path."""
        if "://" in value:
            return value
        if found := self._find(value):
            return found
        if _is_clearly_local(value):
            self.problems.append(Problem(where, self._not_found(value)))
        return value

    def resolve_file(self, value: str, where: str) -> str:
        """As `resolve`, for a value that is a path or a pattern of paths whatever it looks like."""
        if "://" in value:
            return value
        found = self._find(value)
        if found is None:
            self.problems.append(Problem(where, self._not_found(value)))
        return found or value

    def _find(self, value: str) -> str | None:
        for folder in self.folders:
            path = folder / Path(value).expanduser()  # an absolute value replaces the folder
            if path.exists():
                return str(path.resolve())
            if is_pattern(value) and glob.glob(str(path), recursive=True):  # noqa: PTH207 - it may be absolute
                return str(path)
        return None

    def _not_found(self, value: str) -> str:
        path = Path(value).expanduser()
        if path.is_absolute():
            return f'"{value}" not found{_nearest([path])}'
        places = ", ".join(str(folder) for folder in self.folders if folder != shipped_root() or folder == Path.cwd())
        return f'"{value}" not found; looked in {places}{_nearest([folder / path for folder in self.folders])}'


def _is_clearly_local(value: str) -> bool:
    name = value.lower().removesuffix(next((end for end in _COMPRESSED if value.lower().endswith(end)), ""))
    return (
        value.startswith((".", "/", "~"))
        or "\\" in value
        or value.count("/") > 1
        or value.endswith("/")
        or name.endswith(_DATA_SUFFIXES)
        or Path(value).is_absolute()
    )


def _nearest(paths: Sequence[Path]) -> str:
    """The nearest name among what lies where the paths were looked for."""
    near = [found for path in paths for found in _near(path)]
    best = max(near, key=lambda found: found.likeness, default=None)
    return f'; did you mean "{best.name}"?' if best else ""


class _Near(NamedTuple):
    name: str
    likeness: float


def _near(path: Path) -> list[_Near]:
    """Near names in the deepest folder of `path` that exists."""
    parent, name = path.parent, path.name
    while not parent.is_dir() and parent != parent.parent:
        parent, name = parent.parent, parent.name
    try:
        there = [entry.name for entry in parent.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return []
    return [
        _Near(one, SequenceMatcher(None, name, one).ratio()) for one in get_close_matches(name, there, n=1, cutoff=0.6)
    ]
