"""Local task files of lm-eval (YAML): found, read and hashed without the package. What they mean is the harness's.

Nothing in them is run here: `!function utils.f` is read as the place that it names.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft.config.reading.paths import is_pattern, map_texts, matches_something, strings_in
from sft.config.sections.lm_eval import SUFFIXES
from sft.errors import UserError
from sft.io import digest, hash_path, hash_pattern
from sft.plugins import DATA_FORMATS

_DATA_KEYS = ("data_files", "data_dir")


@dataclass(frozen=True)
class TaskFile:
    """A task, or a group of tasks, as its file says it.

    Args:
        path: of the file.
        values: its keys, with those of the files that it includes.
        sources: the file, those that it includes, and the modules beside them that it takes functions from.
    """

    path: Path
    values: Mapping[str, Any]
    sources: tuple[Path, ...]

    @property
    def name(self) -> str:
        """What the harness calls it; empty for a template, which others include."""
        name = self.values.get("group") if self.is_group else self.values.get("task")
        return name if isinstance(name, str) else ""

    @property
    def is_group(self) -> bool:
        """Whether it stands for other tasks."""
        return "group" in self.values and "class" not in self.values

    @property
    def local_data(self) -> dict[str, Any]:
        """Its `dataset_path` and `dataset_kwargs` with absolute paths to what lies beside it; empty where nothing
        does: then they are the hub's, or relative to the working directory."""
        changed: dict[str, Any] = {}
        arguments = self._files
        found = {key: self._beside(value) for key, value in arguments.items()}
        if found != arguments:
            changed["dataset_kwargs"] = {**self.values["dataset_kwargs"], **found}
        place = self.values.get("dataset_path")
        if isinstance(place, str) and place.startswith(".") and self._beside(place) != place:
            changed["dataset_path"] = self._beside(place)
        return changed

    @property
    def data(self) -> tuple[str, ...]:
        """The local paths and patterns that it takes rows from, absolute ones beside it and any others."""
        named = [self._beside(value) for value in self._files.values()]
        place = self.values.get("dataset_path")
        if isinstance(place, str) and place.startswith((".", "/")):
            named.append(self._beside(place))
        return tuple(text for text in strings_in(named) if "://" not in text)

    @property
    def _files(self) -> dict[str, Any]:
        """Its `data_files` and `data_dir`, where these are local: with a data set of the hub they are in that one."""
        arguments = self.values.get("dataset_kwargs")
        if self.values.get("dataset_path") not in DATA_FORMATS or not isinstance(arguments, dict):
            return {}
        return {key: arguments[key] for key in _DATA_KEYS if key in arguments}

    def _beside(self, value: Any) -> Any:
        return map_texts(value, "", lambda text, _: self._absolute(text))

    def _absolute(self, text: str) -> str:
        place = self.path.parent / text
        if "://" in text:
            return text
        if place.exists():
            return str(place.resolve())
        return str(place) if is_pattern(text) and matches_something(place) else text


def task_files(place: str) -> list[Path]:
    """The YAML files of a path, folder or pattern; those in folders inside it count too."""
    path = Path(place)
    if path.is_dir():
        files = (file for suffix in SUFFIXES for file in path.rglob(f"*{suffix}"))
        return sorted(file for file in files if not any(p.startswith(".") for p in file.relative_to(path).parts))
    if is_pattern(place) and not path.exists():
        return sorted(Path(name) for name in glob.glob(place, recursive=True))  # noqa: PTH207 - it is absolute
    return [path]


def read_task_file(path: Path) -> TaskFile:
    """Read a task file and those that it includes.

    Raises:
        UserError: it cannot be read, or is no YAML object.
    """
    sources: dict[Path, None] = {}
    values = _read(path, sources)
    return TaskFile(path, values, tuple(sources))


def content_of_tasks(place: str) -> str:
    """`sha256:…` of the task files at an absolute path, and of what they include, take functions from and ask about.

    The same files elsewhere give the same hash. Modules that those modules import are not looked at.
    """
    return f"sha256:{digest(chr(10).join(text for file in task_files(place) for text in _contents(file)))}"


def _contents(file: Path) -> Iterator[str]:
    try:
        task = read_task_file(file)
    except UserError:  # whoever runs it says so
        yield hash_path(file)
        return
    yield from (hash_path(source) for source in task.sources)
    for place in task.data:
        path = Path.cwd() / place
        yield hash_path(path) if path.exists() else hash_pattern(str(path)) or place


def _read(path: Path, sources: dict[Path, None]) -> dict[str, Any]:
    """The keys of a file over those of the files that it includes, as the harness reads them."""
    import yaml

    if path in sources:
        raise UserError(f"{path} cannot be read as a task of lm-eval: it is included twice")
    sources[path] = None
    try:
        found = yaml.load(path.read_bytes(), _loader(path.parent, sources))  # noqa: S506 - it makes nothing but data
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a task of lm-eval: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} cannot be read as a task of lm-eval: it holds no keys and values")
    included = found.pop("include", None)
    if included is None:
        return found
    merged: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        merged |= _read((path.parent / str(name)).resolve(), sources)
    return {**merged, **found}


def _loader(folder: Path, sources: dict[Path, None]) -> Any:
    """A loader of plain data, to which a function is the text that names it."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Keeps constructors of its own."""

    def function(loader: Any, node: Any) -> str:
        text = str(loader.construct_scalar(node))
        module = folder / f"{text.rpartition('.')[0].replace('.', '/')}.py"
        if module.is_file():
            sources[module] = None
        return f"!function {text}"

    Loader.add_constructor("!function", function)
    return Loader
