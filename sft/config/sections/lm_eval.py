"""The section `evaluation.lm_eval`: tasks of EleutherAI's lm-evaluation-harness for the trained model.

The package is optional and not imported here. Task files are read in `reading/task_files.py`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

from pydantic import Field, Strict

from sft.config.sections.base import Count, PositiveCount, Section
from sft.errors import MissingPackageError

LM_EVAL = "evaluation.lm_eval"
SUFFIXES = (".yaml", ".yml")  # of task files
_PACKAGE = "lm_eval"

TaskName = Annotated[str, Field(min_length=1)]
TaskNames = Annotated[tuple[TaskName, ...], Strict(False), Field(min_length=1)]  # a JSON list
Limit = PositiveCount | Annotated[float, Field(gt=0, lt=1)]


class LmEvalConfig(Section):
    """Tasks on which the trained model is evaluated too, to detect forgetting (`pip install 'sft[lm-eval]'`)."""

    tasks: TaskNames = Field(
        description="Names of tasks or groups of the harness, or local task files: a path that ends in .yaml, or a "
        "folder of such files (with a slash: `./tasks`). Their data_files are looked up in the file's folder first."
    )
    num_fewshot: Count | None = Field(
        default=None, description="Examples in each prompt, the same in all runs. Default: the task's own number."
    )
    limit: Limit | None = Field(
        default=None, description="Number of first rows of each task, or a share below 1. Default: all rows."
    )
    allow_code: bool = Field(
        default=False,
        description="Let local task files run code: Python functions (`!function`), and templates that use more "
        "than the values of their rows. Set it only for files that you have read.",
    )
    batch_size: PositiveCount = Field(default=8, description="Rows per batch; halved if memory runs out.")


def require_lm_eval() -> None:
    """Check, before any work, that the package is installed.

    Raises:
        MissingPackageError: it is not installed.
    """
    if find_spec(_PACKAGE) is None:
        raise MissingPackageError(LM_EVAL, "lm-eval", extra="lm-eval")


def is_task_path(task: str) -> bool:
    """Return whether an entry of `tasks` is a local path: names in the harness have no slash and no such suffix."""
    return task.endswith(SUFFIXES) or "/" in task or "\\" in task or task.startswith("~")
