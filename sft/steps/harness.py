"""Run the tasks of `evaluation.lm_eval`: loaded before the training, evaluated after the run's own evaluation."""

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
    """Check that the tasks exist, without loading them.

    Raises:
        MissingPackageError: the harness is not installed.
        UserError: a task does not exist or cannot be read.
    """
    if (config := _lm_eval_config(setup)) is not None:
        from sft.harness.catalogue import find_tasks

        find_tasks(config)


def open_harness(setup: Setup) -> OpenTasks | None:
    """Load the tasks with their rows; None if the config names none, or nothing is evaluated.

    Raises:
        MissingPackageError: the harness is not installed.
        UserError: a task cannot be evaluated.
    """
    config = _lm_eval_config(setup)
    if config is None:
        return None
    from sft.harness.tasks import open_tasks

    with setup.clock("lm_eval"):
        return open_tasks(config)


def ask_harness(setup: Setup, backend: Backend, tasks: OpenTasks | None, progress: Progress) -> dict[str, Any] | None:
    """Evaluate the model on the tasks and return the metrics by task; None without tasks.

    Raises:
        UserError: the harness cannot evaluate the model on a task.
    """
    if tasks is None:
        return None
    if backend.model is None:
        name = setup.inference.backend
        raise UserError(
            f'evaluation.lm_eval needs the model in this process; inference.backend "{name}" does not have it'
        )
    from sft.harness.run import evaluate_tasks

    with setup.clock("lm_eval"):
        return evaluate_tasks(backend.model, setup.tokenizer, tasks, progress)


def _lm_eval_config(setup: Setup) -> LmEvalConfig | None:
    evaluates = setup.experiment.endpoint in ("evaluate", "run-experiment")
    return setup.config.evaluation.lm_eval if evaluates else None
