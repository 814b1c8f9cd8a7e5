"""Tasks of lm-eval with their rows, loaded before the training so that errors in them are reported early."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sft.config.reading.task_files import TaskFile
from sft.config.sections.lm_eval import LM_EVAL, LmEvalConfig
from sft.dataset.reading.sources import cache_of
from sft.errors import UserError
from sft.foreign import importable, one_line
from sft.harness.catalogue import ConfigTasks, find_tasks
from sft.harness.quiet import quiet_harness
from sft.io import digest, hash_path, hash_pattern

SEED = 1234  # the harness's default, for examples and sampling: all runs, and published results, use the same


@dataclass(frozen=True)
class OpenTasks:
    """Tasks that are loaded and can be evaluated.

    Args:
        config: the section that names the tasks.
        names: of the tasks and groups, in the order of the config.
        loaded: the harness's tasks and groups, `{"tasks": …, "groups": …}`.
    """

    config: LmEvalConfig
    names: tuple[str, ...]
    loaded: Mapping[str, Mapping[str, Any]]


def open_tasks(config: LmEvalConfig) -> OpenTasks:
    """Load the rows of the tasks, and build the first request of each.

    Raises:
        MissingPackageError: the harness is not installed.
        UserError: a task cannot be evaluated.
    """
    tasks = find_tasks(config)
    with quiet_harness(), importable() if config.allow_code else nullcontext():
        try:
            loaded = _load(tasks)
            for task in loaded["tasks"].values():
                _refuse_unusual(task)
                _prepare(task, config.num_fewshot)
        except UserError:
            raise
        except Exception as error:  # of any type: it is about tasks that the user chose
            problem = f"{', '.join(tasks.names)} cannot be opened: {type(error).__name__}: {one_line(error)}"
            raise UserError(f"{LM_EVAL}: {problem}") from error
    return OpenTasks(config, tasks.names, loaded)


def _load(tasks: ConfigTasks) -> Mapping[str, Mapping[str, Any]]:
    """Load the tasks in the harness, each from a file that includes its task file and has absolute paths to its rows.

    The harness would take `data_files` as relative to the working directory, not to the folder of the task file.
    """
    from lm_eval.tasks import TaskManager

    with TemporaryDirectory(prefix="sft-lm-eval-") as folder:
        for number, task in enumerate(tasks.files.values()):
            value = {"include": str(task.path.resolve()), **_local_data(task)}
            (Path(folder) / f"{number}.yaml").write_text(json.dumps(value, default=str), encoding="utf-8")
        manager = TaskManager(include_path=folder, include_defaults=tasks.needs_all_files)
        loaded: Mapping[str, Mapping[str, Any]] = manager.load(list(tasks.names))
    return loaded


def _local_data(task: TaskFile) -> dict[str, Any]:
    """Return the paths of the task's local rows, with a cache by content (see `sft.dataset.reading.sources`)."""
    changed = task.local_data
    contents = [hash_path(Path(path)) if Path(path).exists() else hash_pattern(path) for path in task.data]
    if not contents or "custom_dataset" in task.values:
        return changed
    arguments = changed.get("dataset_kwargs") or task.values.get("dataset_kwargs") or {}
    return {**changed, "dataset_kwargs": {"cache_dir": cache_of(digest(json.dumps(contents))), **arguments}}


def _refuse_unusual(task: Any) -> None:
    if getattr(task, "UNSAFE_CODE", False):
        raise UserError(f'{LM_EVAL}.tasks: "{task.task_name}" runs code that the model writes, which is not supported')
    if getattr(task, "MULTIMODAL", False):
        raise UserError(f'{LM_EVAL}.tasks: "{task.task_name}" needs more than text, which is not supported')


def _prepare(task: Any, num_fewshot: int | None) -> None:
    """Set the number of examples (a task that sets 0 itself keeps 0), and check that a request can be built.

    Examples and seeds are set as by the harness's command line.
    """
    own = task.get_config("num_fewshot")
    if own is None or (num_fewshot is not None and own != 0):
        task.set_config(key="num_fewshot", value=num_fewshot or 0)
    task.set_fewshot_seed(seed=SEED)
    task.build_all_requests(limit=1, rank=0, world_size=1)
    task.set_fewshot_seed(seed=SEED)  # building the request used random numbers
