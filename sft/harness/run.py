"""Evaluate a loaded model on the loaded tasks of lm-eval, and keep its metrics as plain numbers."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from sft.config.sections.lm_eval import LM_EVAL
from sft.errors import UserError
from sft.foreign import one_line
from sft.harness.quiet import quiet_harness
from sft.harness.tasks import SEED, OpenTasks
from sft.log import Progress
from sft.memory import halvings
from sft.protocols import LanguageModel, Tokenizer

_BOOTSTRAP = 1000  # any number turns standard errors on; those of means need no bootstrap
_STDERR = "_stderr"


def evaluate_tasks(model: LanguageModel, tokenizer: Tokenizer, tasks: OpenTasks, progress: Progress) -> dict[str, Any]:
    """Return the harness's metrics by task, as JSON; a group with metrics of its own replaces its tasks.

    Each task has its metrics, `<metric>_stderr` for metrics that are means, `higher_is_better` by metric, the number
    of rows `n`, `num_fewshot` and `version`.

    Args:
        model: of transformers or PEFT, in eval mode; it is not modified.
        tokenizer: of the model; it is not modified.
        tasks: the tasks to evaluate.
        progress: called after each request.

    Raises:
        UserError: the harness cannot evaluate the model on a task.
    """
    size = max(1, tasks.config.batch_size >> halvings())
    with quiet_harness(logging.ERROR):  # the harness warns that it got a loaded model
        from lm_eval.evaluator import evaluate
        from transformers import set_seed

        from sft.harness.language_model import HarnessModel

        harness_model = HarnessModel(model, tokenizer, size, tasks.loaded["tasks"].values(), progress)
    set_seed(SEED)
    with quiet_harness():
        try:
            results = evaluate(
                lm=harness_model,
                task_dict=tasks.loaded,
                limit=tasks.config.limit,
                bootstrap_iters=_BOOTSTRAP if _all_means(tasks) else 0,
                log_samples=False,
            )
        except (AssertionError, ValueError, OSError) as error:
            raise UserError(f"{LM_EVAL}: lm-eval cannot evaluate the model: {one_line(error)}") from error
    return {name: _metrics(results, name) for name in _reported(results, tasks)}


def _all_means(tasks: OpenTasks) -> bool:
    """Return whether all metrics are means: for others the harness would start processes for a bootstrap."""
    from lm_eval.api.metrics import mean

    return all(metric is mean for task in tasks.loaded["tasks"].values() for metric in task.aggregation().values())


def _reported(results: Mapping[str, Any], tasks: OpenTasks) -> list[str]:
    """Return the tasks to report; a group that the config names replaces its tasks if it has metrics of its own."""
    groups = {name for name in tasks.names if name in results.get("groups", {})}
    inside = {task.task_name for name in groups for task in tasks.loaded["groups"][name].get_all_tasks()}
    reported = groups | (tasks.loaded["tasks"].keys() - inside)
    return [name for name in results["results"] if name in reported]


def _metrics(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the metrics of a task. The harness's keys are `metric,filter`; a single filter's name is left out."""
    task = results["results"][name]
    keys = [tuple(key.split(",", 1)) for key in task if "," in key]
    filters = Counter(metric for metric, _ in keys)
    metrics: dict[str, Any] = {}
    higher_is_better: dict[str, bool] = {}
    for metric, filter_name in keys:
        base = metric.removesuffix(_STDERR)
        reported = base if filters[metric] == 1 else f"{base}_{filter_name.replace('-', '_')}"
        value = _number(task[f"{metric},{filter_name}"])
        if value is not None:
            metrics[f"{reported}{_STDERR}" if metric != base else reported] = value
        direction = results["higher_is_better"].get(name, {}).get(base)
        if isinstance(direction, bool):
            higher_is_better[reported] = direction
    rows = results["n-samples"].get(name, {}).get("effective", task.get("sample_len"))
    shots, version = results["n-shot"].get(name), _number(results["versions"].get(name))
    return {**metrics, "higher_is_better": higher_is_better, "n": rows, "num_fewshot": shots, "version": version}


def _number(value: Any) -> float | None:
    """Return a value as a plain number; None if it is not a number (`N/A`) or not finite."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
