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
from typing import Any, NamedTuple

from sft.config.reading.paths import is_pattern, matches_something
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
        UserError: a task that does not exist, a file that cannot be read, rows that are missing, a local task that
            runs code without `allow_code`, or a task that runs code that a model wrote.
    """
    require_lm_eval()
    names: dict[str, None] = {}
    files: dict[str, TaskFile] = {}
    for entry in config.tasks:
        if not is_task_path(entry):
            names[entry] = None
            continue
        asked, read = _local(entry)
        for task in read:
            if not config.allow_code:
                _refuse_code(task)
            if (other := files.setdefault(task.name, task)).path != task.path:
                raise UserError(f'{_TASKS}: {other.path} and {task.path} are both called "{task.name}"')
        names |= dict.fromkeys(asked)
    others = [name for name in names if name not in files and not _add_own(name, files)]
    for task in files.values():
        _check(task)
    alone = all(_members(task.values) <= files.keys() for task in files.values() if task.is_group)
    return Found(tuple(names), files, bool(others) or not alone)


def _local(entry: str) -> tuple[list[str], list[TaskFile]]:
    """The names that a path stands for, and the files to read for them.

    A file stands for itself, a folder for all its tasks. A group's file needs those beside it that it names.
    """
    path = Path(entry)
    read = [read_task_file(file) for file in task_files(entry)]
    read = [task for task in read if task.name]  # the others are templates, which tasks include
    if is_pattern(entry) or path.is_dir():
        asked = [task.name for task in read if not task.is_group]
    else:
        asked = [task.name for task in read]
        read += [task for group in read if group.is_group for task in _beside(group)]
    if not asked:
        raise UserError(f'{_TASKS}: "{entry}" holds no task of lm-eval (a YAML file with the key "task")')
    return asked, read


def _beside(group: TaskFile) -> Iterator[TaskFile]:
    """The tasks in the folder of a group's file that it names, by name or by tag."""
    members = _members(group.values)
    for file in sorted(group.path.parent.glob("*.yaml")):
        try:
            task = read_task_file(file)
        except UserError:  # it need not belong to the group
            continue
        tags = task.values.get("tag") or []
        if not task.is_group and members & {task.name, *([tags] if isinstance(tags, str) else map(str, tags))}:
            yield task


def _members(values: Mapping[str, Any]) -> set[str]:
    """The names of tasks, groups and tags under the key `task` of a group, those of groups defined inside it too."""
    members = values.get("task")
    names: set[str] = set()
    for member in members if isinstance(members, list) else [members]:
        if isinstance(member, str):
            names.add(member)
        elif isinstance(member, dict):
            names |= {str(member["group"])} if "group" in member else set()
            names |= _members(member)
    return names


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
    """The names of all the harness's tasks, groups and tags. It reads all its files for that, which takes long."""
    with calm(logging.ERROR):
        from lm_eval.tasks import TaskManager

        return frozenset(TaskManager().all_tasks)


def _refuse_code(task: TaskFile) -> None:
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
        if not path.exists() and not (is_pattern(place) and matches_something(path)):
            raise UserError(f'{task.path}: "{place}" not found; looked in {task.path.parent}, {Path.cwd()}')
