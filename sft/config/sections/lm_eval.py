"""The section `evaluation.lm_eval`: tasks of EleutherAI's lm-evaluation-harness that the trained model is asked too.

Knows nothing of the package, which is optional, nor of what task files hold (see `reading/task_files.py`).
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
    """Tasks that the trained model is asked too, as a guard against forgetting (`pip install 'sft[lm-eval]'`)."""

    tasks: TaskNames = Field(
        description="Names of tasks or groups of the harness, or local task files: a path that ends in .yaml, or a "
        "folder of such (with a slash: `./tasks`). Their own data_files are looked for beside them first."
    )
    num_fewshot: Count | None = Field(
        default=None, description="Examples in each prompt, the same in all runs. Default: the task's own number."
    )
    limit: Limit | None = Field(
        default=None, description="The first rows of each task: how many, or a share below 1. Default: all."
    )
    allow_code: bool = Field(
        default=False,
        description="Let local task files run code: Python functions (`!function`), and templates that go beyond the "
        "values of their rows. Only for files that you have read.",
    )
    batch_size: PositiveCount = Field(default=8, description="Rows at once; halved where memory runs out.")


def require_lm_eval() -> None:
    """Say at once, before any work, that the package is not installed.

    Raises:
        MissingPackageError: it is not.
    """
    if find_spec(_PACKAGE) is None:
        raise MissingPackageError(LM_EVAL, "lm-eval", extra="lm-eval")


def is_task_path(task: str) -> bool:
    """Whether an entry of `tasks` is a local path: names of the harness have no slash and no such ending."""
    return task.endswith(SUFFIXES) or "/" in task or "\\" in task or task.startswith("~")
