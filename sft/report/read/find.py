"""A run by what a person types for it: its folder, a file in it, or RESULTS/ and its name or the beginning of its id.

    results/runs/shots-8-97698e7aa610    results/shots=8    results/9769

A results folder with one run in it means that run.
Reads no more than the folders' names, and configs where only the experiment's name can tell.
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

_OF_A_RUN = ("result.json", "config.json", "state.json")
_SHOWN = 8

T = TypeVar("T")


def find_run(given: Path) -> RunFolder:
    """The run folder that is meant.

    Raises:
        UserError: there is none, or there are several.
    """
    if given.is_file() and given.name in _OF_A_RUN:
        return RunFolder(given.resolve().parent)
    if any((given / name).is_file() for name in _OF_A_RUN):
        return RunFolder(given.resolve())
    root = _results_folder(given)
    if root is None:
        raise UserError(f"{given} is no run folder; name one: RESULTS/{RUNS}/<name>-<id>")
    folders = list(ResultStore(root).folders())
    if (given / RUNS).is_dir():
        runs = _each_once(folders)
        if len(runs) == 1:
            return RunFolder(runs[0].path.resolve())
        if not folders:
            raise UserError(f"{given} holds no run")
        raise UserError(f"{given} holds {len(runs)} runs; name one of them: {_few(runs)}")
    found = _each_once(matching(folders, given.name, lambda folder: folder, _name))
    if len(found) == 1:
        return RunFolder(found[0].path.resolve())
    if found:
        raise UserError(f'"{given.name}" may be {len(found)} runs of {root}: {_few(found)}')
    near = did_you_mean(given.name, [*map(_name, folders), *(folder.path.name for folder in folders)])
    raise UserError(f'{root} has no run "{given.name}"{near}')


def open_run(given: Path) -> Run:
    """The run that is meant, read.

    Raises:
        UserError: there is none, or its config cannot be used.
    """
    folder = find_run(given)
    run = run_of(ResultStore(results_folder(folder)), folder)
    if run is None:
        raise UserError(f"{folder.path} does not say what was run")
    return run


def results_folder(folder: RunFolder) -> Path:
    """The results folder that a run folder lies in."""
    parent = folder.path.resolve().parent
    return parent.parent if parent.name == RUNS else parent


def _results_folder(given: Path) -> Path | None:
    """The nearest one: `given` itself, or what it is named in."""
    places = (given, given.parent, given.parent.parent) if given.parent.name == RUNS else (given, given.parent)
    return next((place for place in places if (place / RUNS).is_dir()), None)


def _each_once(folders: Iterable[RunFolder]) -> list[RunFolder]:
    """The folders without copies of others: of several with one id, one with a result, named by the id."""
    kept: dict[str, RunFolder] = {}
    for folder in sorted(folders, key=lambda one: (not one.result_file.exists(), not is_named_by_id(one.path))):
        kept.setdefault(folder.id, folder)
    return sorted(kept.values(), key=lambda folder: folder.path)


def matching(
    candidates: Sequence[T], text: str, folder_of: Callable[[T], RunFolder], name_of: Callable[[T], str]
) -> list[T]:
    """The candidates that a text means: by folder, else by id, else by name, else by how id or folder begin.

    Args:
        candidates: runs, or what stands for them.
        text: typed by a person.
        folder_of: the run folder of a candidate.
        name_of: its experiment's name; called only where folders and ids do not match.
    """
    ways: tuple[Callable[[T], bool], ...] = (
        lambda one: folder_of(one).path.name == text,
        lambda one: folder_of(one).id == text,
        lambda one: name_of(one) == text,
        lambda one: name_of(one).rpartition(" seed=")[0] == text,
        lambda one: folder_of(one).id.startswith(text) or folder_of(one).path.name.startswith(text),
    )
    return next((found for fits in ways if (found := [one for one in candidates if fits(one)])), [])


def _name(folder: RunFolder) -> str:
    """The experiment's name, as its config says."""
    try:
        return str(folder.config().get("name") or "")
    except (OSError, ValueError):
        return ""


def _few(folders: Sequence[RunFolder]) -> str:
    return some([folder.path.name for folder in folders], _SHOWN)
