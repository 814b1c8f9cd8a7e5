"""Find a run by its folder, a file in it, or RESULTS/ with its name or a prefix of its id.

    results/runs/shots-8-97698e7aa610    results/shots=8    results/9769

A results folder with one run means that run. Reads only folder names, and configs if it needs the experiment's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from sft.errors import UserError, did_you_mean
from sft.log import some
from sft.report.read.runs import Run, run_of
from sft.results.names import is_named_by_id
from sft.results.store import RUNS, ResultStore, RunFolder

_RUN_FILES = ("result.json", "config.json", "state.json")
_SHOWN = 8

T = TypeVar("T")


def find_run(path: Path) -> RunFolder:
    """Return the run folder that a path names.

    Raises:
        UserError: no run or several runs match.
    """
    if path.is_file() and path.name in _RUN_FILES:
        return RunFolder(path.resolve().parent)
    if any((path / name).is_file() for name in _RUN_FILES):
        return RunFolder(path.resolve())
    root = _results_folder(path)
    if root is None:
        raise UserError(f"expected a run folder, RESULTS/{RUNS}/<name>-<id>; got {path}")
    folders = list(ResultStore(root).folders())
    if (path / RUNS).is_dir():
        runs = _each_once(folders)
        if len(runs) == 1:
            return RunFolder(runs[0].path.resolve())
        if not folders:
            raise UserError(f"{path} contains no runs")
        raise UserError(f"{path} contains {len(runs)} runs; name one of them: {_names(runs)}")
    matched = _each_once(matching(folders, path.name, lambda folder: folder, _name))
    if len(matched) == 1:
        return RunFolder(matched[0].path.resolve())
    if matched:
        raise UserError(f'"{path.name}" matches {len(matched)} runs of {root}: {_names(matched)}')
    near = did_you_mean(path.name, [*map(_name, folders), *(folder.path.name for folder in folders)])
    raise UserError(f'{root} has no run "{path.name}"{near}')


def open_run(path: Path) -> Run:
    """Read the run that a path names.

    Raises:
        UserError: no run or several runs match, or its config cannot be used.
    """
    folder = find_run(path)
    run = run_of(ResultStore(results_folder(folder)), folder)
    if run is None:
        raise UserError(f"{folder.path} has no result and no usable config")
    return run


def results_folder(folder: RunFolder) -> Path:
    """Return the results folder of a run folder."""
    parent = folder.path.resolve().parent
    return parent.parent if parent.name == RUNS else parent


def _results_folder(path: Path) -> Path | None:
    """Return the nearest results folder: the path itself or a parent of it."""
    candidates = (path, path.parent, path.parent.parent) if path.parent.name == RUNS else (path, path.parent)
    return next((folder for folder in candidates if (folder / RUNS).is_dir()), None)


def _each_once(folders: Iterable[RunFolder]) -> list[RunFolder]:
    """Return one folder per id, preferring one with a result, then one named by the id."""
    kept: dict[str, RunFolder] = {}
    for folder in sorted(folders, key=lambda one: (not one.result_file.exists(), not is_named_by_id(one.path))):
        kept.setdefault(folder.id, folder)
    return sorted(kept.values(), key=lambda folder: folder.path)


def matching(
    candidates: Sequence[T], text: str, folder_of: Callable[[T], RunFolder], name_of: Callable[[T], str]
) -> list[T]:
    """Return the candidates that a string matches: by folder, else by id, by name, or by a prefix of id or folder.

    Args:
        candidates: runs or objects that represent them.
        text: string from the user.
        folder_of: returns the run folder of a candidate.
        name_of: returns its experiment's name; called only if no folder and no id matches.
    """
    matches: tuple[Callable[[T], bool], ...] = (
        lambda one: folder_of(one).path.name == text,
        lambda one: folder_of(one).id == text,
        lambda one: name_of(one) == text,
        lambda one: name_of(one).rpartition(" seed=")[0] == text,
        lambda one: folder_of(one).id.startswith(text) or folder_of(one).path.name.startswith(text),
    )
    return next((matched for is_match in matches if (matched := [one for one in candidates if is_match(one)])), [])


def _name(folder: RunFolder) -> str:
    """Return the experiment's name from its config."""
    try:
        return str(folder.config().get("name") or "")
    except (OSError, ValueError):
        return ""


def _names(folders: Sequence[RunFolder]) -> str:
    return some([folder.path.name for folder in folders], _SHOWN)
