"""The tasks of lm-eval that a config names, from task files alone: the package's index of all tasks takes many seconds.

Opens no data. Imports the package only for names that a search of its files does not find (tags).
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
from sft.harness.quiet import quiet_harness

_TASKS = f"{LM_EVAL}.tasks"
_TASK_OR_GROUP = re.compile(rb"^(task|group):[ \t]*['\"]?([\w.-][^'\"\n#]*)", re.MULTILINE)


class ConfigTasks(NamedTuple):
    """The tasks of a config.

    Args:
        names: of the tasks and groups in the harness, in the order of the config.
        files: the task files, local or built-in, that can be loaded without the others, by name.
        needs_all_files: whether the harness must read all its files, for other groups and for tags.
    """

    names: tuple[str, ...]
    files: Mapping[str, TaskFile]
    needs_all_files: bool


def find_tasks(config: LmEvalConfig) -> ConfigTasks:
    """Return the tasks that a config names.

    Raises:
        MissingPackageError: the harness is not installed.
        UserError: a task does not exist, a file cannot be read, rows are missing, a local task runs code without
            `allow_code`, or a task runs code that a model wrote.
    """
    require_lm_eval()
    names: dict[str, None] = {}
    files: dict[str, TaskFile] = {}
    for entry in config.tasks:
        if not is_task_path(entry):
            names[entry] = None
            continue
        entry_names, entry_files = _local_tasks(entry)
        for task in entry_files:
            if not config.allow_code:
                _refuse_code(task)
            if (other := files.setdefault(task.name, task)).path != task.path:
                raise UserError(f'{_TASKS}: duplicate task "{task.name}" in {other.path} and {task.path}')
        names |= dict.fromkeys(entry_names)
    others = [name for name in names if name not in files and not _add_builtin(name, files)]
    for task in files.values():
        _check(task)
    complete = all(_members(task.values) <= files.keys() for task in files.values() if task.is_group)
    return ConfigTasks(tuple(names), files, bool(others) or not complete)


def _local_tasks(entry: str) -> tuple[list[str], list[TaskFile]]:
    """Return the names of the tasks at a path, and the files to read for them.

    A file is one task, a folder all its tasks. A group also needs the tasks in its folder that it names.
    """
    path = Path(entry)
    files = [read_task_file(file) for file in task_files(entry)]
    files = [task for task in files if task.name]  # the others are templates, which tasks include
    if is_pattern(entry) or path.is_dir():
        names = [task.name for task in files if not task.is_group]
    else:
        names = [task.name for task in files]
        files += [task for group in files if group.is_group for task in _tasks_of_group(group)]
    if not names:
        raise UserError(f'{_TASKS}: "{entry}" contains no lm-eval task; expected a YAML file with the key "task"')
    return names, files


def _tasks_of_group(group: TaskFile) -> Iterator[TaskFile]:
    """Yield the tasks in the group's folder that the group names, directly or by a tag."""
    members = _members(group.values)
    for file in sorted(group.path.parent.glob("*.yaml")):
        try:
            task = read_task_file(file)
        except UserError:  # the file may have nothing to do with the group
            continue
        tags = task.values.get("tag") or []
        if not task.is_group and members & {task.name, *([tags] if isinstance(tags, str) else map(str, tags))}:
            yield task


def _members(values: Mapping[str, Any]) -> set[str]:
    """Return the tasks, groups and tags under the key `task` of a group, also those of groups defined inside it."""
    members = values.get("task")
    names: set[str] = set()
    for member in members if isinstance(members, list) else [members]:
        if isinstance(member, str):
            names.add(member)
        elif isinstance(member, dict):
            names |= {str(member["group"])} if "group" in member else set()
            names |= _members(member)
    return names


def _add_builtin(name: str, files: dict[str, TaskFile]) -> bool:
    """Add a built-in task to `files`; return whether it can be loaded without the harness's other files.

    Raises:
        UserError: the task does not exist.
    """
    known = builtin_tasks()
    if (file := known.get(name)) is not None:
        task = read_task_file(file)
        if task.name == name and not task.is_group:
            files[name] = task
            return True
    elif name not in (index := _index()):
        near = did_you_mean(name, sorted({*known, *index}))
        raise UserError(
            f'{_TASKS}: lm-eval has no task "{name}"{near} (for a local task file, give a path that ends in .yaml)'
        )
    return False


@cache
def builtin_tasks() -> Mapping[str, Path]:
    """Return the files of the harness's tasks and groups by name, from the lines that name them."""
    spec = find_spec("lm_eval")
    folders = spec.submodule_search_locations if spec is not None else None
    files: dict[str, Path] = {}
    for folder in folders or ():
        for file in sorted((Path(folder) / "tasks").rglob("*.yaml")):
            for _, name in _TASK_OR_GROUP.findall(file.read_bytes()):
                files.setdefault(name.strip().decode("utf-8", errors="replace"), file)
    return files


@cache
def _index() -> frozenset[str]:
    """Return the names of the harness's tasks, groups and tags. Slow: the harness reads all its files."""
    with quiet_harness(logging.ERROR):
        from lm_eval.tasks import TaskManager

        return frozenset(TaskManager().all_tasks)


def _refuse_code(task: TaskFile) -> None:
    if code := code_in_task(task.values):
        raise UserError(
            f"{task.path} runs code ({code}); if you have read it and trust it, set {LM_EVAL}.allow_code to true"
        )


def _check(task: TaskFile) -> None:
    """Refuse a task that runs code of the model, or whose local rows are missing."""
    if task.values.get("unsafe_code"):
        raise UserError(f'{_TASKS}: "{task.name}" runs code that the model writes, which is not supported')
    for data in task.data:
        path = Path.cwd() / data
        if not path.exists() and not (is_pattern(data) and matches_something(path)):
            raise UserError(f'{task.path}: "{data}" not found; searched {task.path.parent}, {Path.cwd()}')
