"""Ask a loaded model the open tasks of lm-eval, and keep plain numbers of what it says."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from sft.config.sections.lm_eval import LM_EVAL
from sft.errors import UserError
from sft.foreign import one_line
from sft.harness.quiet import calm
from sft.harness.tasks import SEED, OpenTasks
from sft.log import Progress
from sft.memory import halvings
from sft.protocols import LanguageModel, Tokenizer

_CLOSED_FORM = 1000  # any number asks for standard errors; those of means are computed without drawing
_STDERR = "_stderr"


def ask_tasks(model: LanguageModel, tokenizer: Tokenizer, tasks: OpenTasks, progress: Progress) -> dict[str, Any]:
    """The harness's figures by task (of a group that has figures of its own, those), as JSON.

    For each its metrics, `<metric>_stderr` where it is that of a mean, `higher_is_better` by metric, `n` rows,
    `num_fewshot` and `version`.

    Args:
        model: of transformers or PEFT, in eval mode; stays as it is.
        tokenizer: of the model; stays as it is.
        tasks: what to ask.
        progress: told of requests.

    Raises:
        UserError: the harness cannot ask the model that.
    """
    size = max(1, tasks.config.batch_size >> halvings())
    with calm(logging.ERROR):  # it warns of being given a model
        from lm_eval.evaluator import evaluate
        from transformers import set_seed

        from sft.harness.language_model import LentModel

        lent = LentModel(model, tokenizer, size, tasks.loaded["tasks"].values(), progress)
    set_seed(SEED)
    with calm():
        try:
            results = evaluate(
                lm=lent,
                task_dict=tasks.loaded,
                limit=tasks.config.limit,
                bootstrap_iters=_CLOSED_FORM if _all_means(tasks) else 0,
                log_samples=False,
            )
        except (AssertionError, ValueError, OSError) as error:
            raise UserError(f"{LM_EVAL}: lm-eval cannot ask this: {one_line(error)}") from error
    return {name: _figures(results, name) for name in _shown(results, tasks)}


def _all_means(tasks: OpenTasks) -> bool:
    """Whether standard errors cost nothing: for others the harness would start processes and draw rows there."""
    from lm_eval.api.metrics import mean

    return all(one is mean for task in tasks.loaded["tasks"].values() for one in task.aggregation().values())


def _shown(results: Mapping[str, Any], tasks: OpenTasks) -> list[str]:
    """A group that was asked for stands for its tasks, where it has figures of its own; else they do."""
    whole = {name for name in tasks.names if name in results.get("groups", {})}
    inside = {task.task_name for name in whole for task in tasks.loaded["groups"][name].get_all_tasks()}
    shown = whole | (tasks.loaded["tasks"].keys() - inside)
    return [name for name in results["results"] if name in shown]


def _figures(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The figures of a task. The harness's keys are `metric,filter`; a metric of one filter goes without its name."""
    found = results["results"][name]
    keys = [tuple(key.split(",", 1)) for key in found if "," in key]
    filters = Counter(metric for metric, _ in keys)
    figures: dict[str, Any] = {}
    better: dict[str, bool] = {}
    for metric, kind in keys:
        base = metric.removesuffix(_STDERR)
        plain = base if filters[metric] == 1 else f"{base}_{kind.replace('-', '_')}"
        value = _number(found[f"{metric},{kind}"])
        if value is not None:
            figures[f"{plain}{_STDERR}" if metric != base else plain] = value
        direction = results["higher_is_better"].get(name, {}).get(base)
        if isinstance(direction, bool):
            better[plain] = direction
    counted = results["n-samples"].get(name, {}).get("effective", found.get("sample_len"))
    about = {"n": counted, "num_fewshot": results["n-shot"].get(name)}
    return {**figures, "higher_is_better": better, **about, "version": _number(results["versions"].get(name))}


def _number(value: Any) -> float | None:
    """A plain number; None for what is none (`N/A`), or not finite."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
