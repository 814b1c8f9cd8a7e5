"""The tasks of `evaluation.lm_eval`: opened before the training, asked after the run's own evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sft.errors import UserError
from sft.log import Progress
from sft.steps.setup import Setup

if TYPE_CHECKING:
    from sft.config.sections.lm_eval import LmEvalConfig
    from sft.harness.tasks import OpenTasks
    from sft.inference.backends.base import Backend


def check_harness(setup: Setup) -> None:
    """See whether the tasks are there, without opening them.

    Raises:
        MissingPackageError: the harness is not installed.
        UserError: a task that there is not, or that cannot be read.
    """
    if (config := _asked(setup)) is not None:
        from sft.harness.catalogue import find_tasks

        find_tasks(config)


def open_harness(setup: Setup) -> OpenTasks | None:
    """The tasks with their rows; None where none are asked for, or nothing is judged.

    Raises:
        MissingPackageError: the harness is not installed.
        UserError: tasks that cannot be asked.
    """
    config = _asked(setup)
    if config is None:
        return None
    from sft.harness.tasks import open_tasks

    with setup.clock("lm_eval"):
        return open_tasks(config)


def ask_harness(setup: Setup, backend: Backend, tasks: OpenTasks | None, progress: Progress) -> dict[str, Any] | None:
    """What the model says to them, in figures by task; None without any.

    Raises:
        UserError: the harness cannot ask the model that.
    """
    if tasks is None:
        return None
    if backend.model is None:
        name = setup.inference.backend
        raise UserError(f'evaluation.lm_eval needs the model in this process; inference.backend "{name}" has none')
    from sft.harness.run import ask_tasks

    with setup.clock("lm_eval"):
        return ask_tasks(backend.model, setup.tokenizer, tasks, progress)


def _asked(setup: Setup) -> LmEvalConfig | None:
    judges = setup.experiment.endpoint in ("evaluate", "run-experiment")
    return setup.config.evaluation.lm_eval if judges else None
