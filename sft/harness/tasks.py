"""Tasks of lm-eval with their rows, opened before anything is trained: what cannot be asked is told first."""

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
from sft.harness.catalogue import Found, find_tasks
from sft.harness.quiet import calm
from sft.io import digest, hash_path, hash_pattern

SEED = 1234  # the harness's own, for examples and whatever is drawn: all runs, and published figures, are asked alike


@dataclass(frozen=True)
class OpenTasks:
    """Tasks that can be asked.

    Args:
        config: that named them.
        names: of the tasks and groups, in its order.
        loaded: as the harness gives them, `{"tasks": …, "groups": …}`.
    """

    config: LmEvalConfig
    names: tuple[str, ...]
    loaded: Mapping[str, Mapping[str, Any]]


def open_tasks(config: LmEvalConfig) -> OpenTasks:
    """Open the rows of the tasks, and build the first request of each.

    Raises:
        MissingPackageError: the harness is not installed.
        UserError: tasks that cannot be asked.
    """
    found = find_tasks(config)
    with calm(), importable() if config.allow_code else nullcontext():
        try:
            loaded = _load(found)
            for task in loaded["tasks"].values():
                _refuse_unusual(task)
                _prepare(task, config.num_fewshot)
        except UserError:
            raise
        except Exception as error:  # the package's, whatever it is: it is about tasks that the user chose
            what = f"{', '.join(found.names)} cannot be opened: {type(error).__name__}: {one_line(error)}"
            raise UserError(f"{LM_EVAL}: {what}") from error
    return OpenTasks(config, found.names, loaded)


def _load(found: Found) -> Mapping[str, Mapping[str, Any]]:
    """The tasks as the harness loads them, each from a file that says where its local rows lie, and includes its own.

    A `data_files` is relative to the working directory for the harness, which is not where the task's file lies.
    """
    from lm_eval.tasks import TaskManager

    with TemporaryDirectory(prefix="sft-lm-eval-") as folder:
        for number, task in enumerate(found.files.values()):
            value = {"include": str(task.path.resolve()), **_local_data(task)}
            (Path(folder) / f"{number}.yaml").write_text(json.dumps(value, default=str), encoding="utf-8")
        manager = TaskManager(include_path=folder, include_defaults=found.whole)
        loaded: Mapping[str, Mapping[str, Any]] = manager.load(list(found.names))
    return loaded


def _local_data(task: TaskFile) -> dict[str, Any]:
    """Where the task's local rows are, with a cache for their content alone: see `sft.dataset.reading.sources`."""
    changed = task.local_data
    contents = [hash_path(Path(place)) if Path(place).exists() else hash_pattern(place) for place in task.data]
    if not contents or "custom_dataset" in task.values:
        return changed
    arguments = changed.get("dataset_kwargs") or task.values.get("dataset_kwargs") or {}
    return {**changed, "dataset_kwargs": {"cache_dir": cache_of(digest(json.dumps(contents))), **arguments}}


def _refuse_unusual(task: Any) -> None:
    if getattr(task, "UNSAFE_CODE", False):
        raise UserError(f'{LM_EVAL}.tasks: "{task.task_name}" runs code that the model writes, which is not done here')
    if getattr(task, "MULTIMODAL", False):
        raise UserError(f'{LM_EVAL}.tasks: "{task.task_name}" asks about more than text')


def _prepare(task: Any, num_fewshot: int | None) -> None:
    """Set the number of examples (a task that says 0 itself is not given any), and see whether a request can be built.

    Examples and seeds are set as the harness's own command line does it.
    """
    own = task.get_config("num_fewshot")
    if own is None or (num_fewshot is not None and own != 0):
        task.set_config(key="num_fewshot", value=num_fewshot or 0)
    task.set_fewshot_seed(seed=SEED)
    task.build_all_requests(limit=1, rank=0, world_size=1)
    task.set_fewshot_seed(seed=SEED)  # as before that one
