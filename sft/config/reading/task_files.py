"""Find, read and hash local task files of lm-eval (YAML) without the package.

Their keys are not checked, and no code in them is run: `!function utils.f` is read as a string.
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
    """A task, or a group of tasks, as its file defines it.

    Args:
        path: of the file.
        values: its keys and values, with those of the files that it includes.
        sources: the file, the files that it includes, and the modules in their folders that define its functions.
    """

    path: Path
    values: Mapping[str, Any]
    sources: tuple[Path, ...]

    @property
    def name(self) -> str:
        """Name of the task or group in the harness; empty for a template that other files include."""
        name = self.values.get("group") if self.is_group else self.values.get("task")
        return name if isinstance(name, str) else ""

    @property
    def is_group(self) -> bool:
        """Whether the file defines a group of tasks."""
        return "group" in self.values and "class" not in self.values

    @property
    def local_data(self) -> dict[str, Any]:
        """The `dataset_path` and `dataset_kwargs` that change if paths in the file's folder become absolute.

        Other paths are on the Hub, or relative to the working directory.
        """
        changed: dict[str, Any] = {}
        arguments = self._data_arguments
        absolute = {key: self._in_folder(value) for key, value in arguments.items()}
        if absolute != arguments:
            changed["dataset_kwargs"] = {**self.values["dataset_kwargs"], **absolute}
        path = self.values.get("dataset_path")
        if isinstance(path, str) and path.startswith(".") and self._in_folder(path) != path:
            changed["dataset_path"] = self._in_folder(path)
        return changed

    @property
    def data(self) -> tuple[str, ...]:
        """The local paths and patterns of the task's rows; absolute if they are in the file's folder."""
        paths = [self._in_folder(value) for value in self._data_arguments.values()]
        path = self.values.get("dataset_path")
        if isinstance(path, str) and path.startswith((".", "/")):
            paths.append(self._in_folder(path))
        return tuple(text for text in strings_in(paths) if "://" not in text)

    @property
    def _data_arguments(self) -> dict[str, Any]:
        """The `data_files` and `data_dir` if they are local: for a dataset on the Hub they are inside that dataset."""
        arguments = self.values.get("dataset_kwargs")
        if self.values.get("dataset_path") not in DATA_FORMATS or not isinstance(arguments, dict):
            return {}
        return {key: arguments[key] for key in _DATA_KEYS if key in arguments}

    def _in_folder(self, value: Any) -> Any:
        return map_texts(value, "", lambda text, _: self._absolute(text))

    def _absolute(self, text: str) -> str:
        path = self.path.parent / text
        if "://" in text:
            return text
        if path.exists():
            return str(path.resolve())
        return str(path) if is_pattern(text) and matches_something(path) else text


def task_files(location: str) -> list[Path]:
    """Return the YAML files of a path, a folder and its subfolders, or a pattern."""
    path = Path(location)
    if path.is_dir():
        files = (file for suffix in SUFFIXES for file in path.rglob(f"*{suffix}"))
        return sorted(file for file in files if not any(p.startswith(".") for p in file.relative_to(path).parts))
    if is_pattern(location) and not path.exists():
        return sorted(Path(name) for name in glob.glob(location, recursive=True))  # noqa: PTH207 - it is absolute
    return [path]


def read_task_file(path: Path) -> TaskFile:
    """Read a task file and the files that it includes.

    Raises:
        UserError: the file cannot be read, or is not a YAML object.
    """
    sources: dict[Path, None] = {}
    values = _read(path, sources)
    return TaskFile(path, values, tuple(sources))


def content_of_tasks(location: str) -> str:
    """Return the hash `sha256:…` of the task files at an absolute path, their includes, function modules and rows.

    The same files in another folder give the same hash. Modules that the function modules import are not hashed.
    """
    return f"sha256:{digest(chr(10).join(text for file in task_files(location) for text in _contents(file)))}"


def _contents(file: Path) -> Iterator[str]:
    try:
        task = read_task_file(file)
    except UserError:  # reported when the task is loaded
        yield hash_path(file)
        return
    yield from (hash_path(source) for source in task.sources)
    for data in task.data:
        path = Path.cwd() / data
        yield hash_path(path) if path.exists() else hash_pattern(str(path)) or data


def _read(path: Path, sources: dict[Path, None]) -> dict[str, Any]:
    """Return the values of a file; they override those of the files that it includes, as in the harness."""
    import yaml

    if path in sources:
        raise UserError(f"{path} cannot be read as a task of lm-eval: it is included twice")
    sources[path] = None
    try:
        values = yaml.load(path.read_bytes(), _loader(path.parent, sources))  # noqa: S506 - it only makes data
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a task of lm-eval: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} cannot be read as a task of lm-eval: expected an object of keys and values")
    included = values.pop("include", None)
    if included is None:
        return values
    merged: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        merged |= _read((path.parent / str(name)).resolve(), sources)
    return {**merged, **values}


def _loader(folder: Path, sources: dict[Path, None]) -> Any:
    """Return a YAML loader of plain data, which reads a function as its name and adds its module to `sources`."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """A class of its own, so that the constructor added below stays out of the shared loader."""

    def function(loader: Any, node: Any) -> str:
        text = str(loader.construct_scalar(node))
        module = folder / f"{text.rpartition('.')[0].replace('.', '/')}.py"
        if module.is_file():
            sources[module] = None
        return f"!function {text}"

    Loader.add_constructor("!function", function)
    return Loader
