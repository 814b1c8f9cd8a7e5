"""Which tasks a config names, told from the files alone: the package's own index of all its tasks takes many seconds.

Opens no data and imports no package, but for names that the files do not tell at a glance (tags).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from sft.config.reading.paths import is_pattern
from sft.config.reading.task_code import code_in_task
from sft.config.reading.task_files import TaskFile, read_task_file, task_files
from sft.config.sections.lm_eval import LM_EVAL, LmEvalConfig, is_task_path, require_lm_eval
from sft.errors import UserError, did_you_mean
from sft.harness.quiet import calm

_TASKS = f"{LM_EVAL}.tasks"
_NAMED = re.compile(rb"^(task|group):[ \t]*['\"]?([\w.-][^'\"\n#]*)", re.MULTILINE)


class Found(NamedTuple):
    """The tasks of a config.

    Args:
        names: what the harness calls them, in the order of the config.
        files: the files of those that are read by themselves, local or the harness's own, by name.
        whole: whether others are among them (groups, tags), for which the harness has to read all its files.
    """

    names: tuple[str, ...]
    files: Mapping[str, TaskFile]
    whole: bool


def find_tasks(config: LmEvalConfig) -> Found:
    """The tasks that a config names.

    Raises:
        MissingPackageError: the harness is not installed.
        UserError: a task that there is not, a file that cannot be read, rows that are not there, a local task that
            runs code without `allow_code`, or a task that runs code that a model wrote.
    """
    require_lm_eval()
    names: dict[str, None] = {}
    files: dict[str, TaskFile] = {}
    for entry in config.tasks:
        if is_task_path(entry):
            found = list(_local(entry))
            if not config.allow_code:
                _refuse_code(found)
            _take(files, found)
            names |= dict.fromkeys(_asked(entry, found))
        else:
            names[entry] = None
    others = [name for name in names if name not in files and not _add_own(name, files)]
    for task in files.values():
        _check(task)
    alone = all(_members(task) <= files.keys() for task in files.values())
    return Found(tuple(names), files, bool(others) or not alone)


def _members(task: TaskFile) -> set[str]:
    """What a group names; of members in other forms the empty name, which nothing has."""
    members = task.values.get("task") if task.is_group else []
    return {one if isinstance(one, str) else "" for one in members} if isinstance(members, list) else {""}


def _local(entry: str) -> Iterator[TaskFile]:
    """The tasks of a path; beside a group's file those that it may name."""
    path = Path(entry)
    single = not is_pattern(entry) and not path.is_dir()
    for file in task_files(entry):
        task = read_task_file(file)
        if not task.name and not single:
            continue  # a template, which others include
        yield task
        if single and task.is_group:
            yield from (
                one for other in sorted(path.parent.glob("*.yaml")) if other != path and (one := _member(other))
            )


def _member(file: Path) -> TaskFile | None:
    """A file beside a group's, which need not have to do with it."""
    try:
        task = read_task_file(file)
    except UserError:
        return None
    return task if task.name and not task.is_group else None


def _asked(entry: str, found: list[TaskFile]) -> list[str]:
    """The names that a path stands for: a file's own, of a folder's all tasks."""
    if not is_pattern(entry) and not Path(entry).is_dir():
        found = found[:1]
    else:
        found = [task for task in found if not task.is_group]
    if names := [task.name for task in found if task.name]:
        return names
    raise UserError(f'{_TASKS}: "{entry}" holds no task of lm-eval (a YAML file with the key "task")')


def _take(files: dict[str, TaskFile], found: list[TaskFile]) -> None:
    for task in found:
        there = files.setdefault(task.name, task)
        if there.path != task.path:
            raise UserError(f'{_TASKS}: {there.path} and {task.path} are both called "{task.name}"')


def _add_own(name: str, files: dict[str, TaskFile]) -> bool:
    """Find one of the harness's own tasks; whether it can be read by itself.

    Raises:
        UserError: there is no such task.
    """
    known = own_tasks()
    if (file := known.get(name)) is not None:
        task = read_task_file(file)
        if task.name == name and not task.is_group:
            files[name] = task
            return True
    elif name not in (everything := _index()):
        near = did_you_mean(name, sorted({*known, *everything}))
        raise UserError(
            f'{_TASKS}: lm-eval has no task "{name}"{near} (a task file of yours: a path that ends in .yaml)'
        )
    return False


@cache
def own_tasks() -> Mapping[str, Path]:
    """The files of the harness's own tasks and groups, by name, as far as a glance at the files tells."""
    spec = find_spec("lm_eval")
    places = spec.submodule_search_locations if spec is not None else None
    found: dict[str, Path] = {}
    for place in places or ():
        for file in sorted((Path(place) / "tasks").rglob("*.yaml")):
            for _, name in _NAMED.findall(file.read_bytes()):
                found.setdefault(name.strip().decode("utf-8", errors="replace"), file)
    return found


@cache
def _index() -> frozenset[str]:
    """Every name that the harness knows, tags too: it reads all its files for that."""

    return all_names()


def _refuse_code(tasks: list[TaskFile]) -> None:
    """Refuse tasks that run code; of the files beside a group's those that it does not name do not matter."""
    members = _members(tasks[0]) if tasks and tasks[0].is_group else {""}
    for task in tasks:
        if task is not tasks[0] and members.isdisjoint((task.name, "")):
            continue
        if code := code_in_task(task.values):
            raise UserError(
                f"{task.path} runs code ({code}); if you have read it and trust it, set {LM_EVAL}.allow_code to true"
            )


def _check(task: TaskFile) -> None:
    """Refuse what could only fail later, or run code that nobody has read."""
    if task.values.get("unsafe_code"):
        raise UserError(f'{_TASKS}: "{task.name}" runs code that the model writes, which is not done here')
    for place in task.data:
        path = Path.cwd() / place
        if not path.exists() and not (is_pattern(place) and any(task_files(str(path)))):
            raise UserError(f'{task.path}: "{place}" not found; looked in {task.path.parent}, {Path.cwd()}')


def all_names() -> frozenset[str]:
    """The names of all the harness's own tasks, groups and tags."""
    with calm(logging.ERROR):
        from lm_eval.tasks import TaskManager

        return frozenset(TaskManager().all_tasks)
