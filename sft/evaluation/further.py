"""The metrics of `evaluation.metrics`: names of the registry, `"module:function"`, or `"evaluate:NAME"`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sft.config.sections.evaluation import metric_script
from sft.errors import MissingPackageError, UserError
from sft.evaluation.base import Metric
from sft.plugins import EVALUATE, METRICS


def further_metrics(
    names: Iterable[str], references: Sequence[str], predictions: Sequence[str], taken: Iterable[str] = ()
) -> dict[str, float]:
    """All the metrics asked for, in one flat dict.

    A metric that gives one number stands under its own short name (`my_module:my_function` under `my_function`), one
    that gives several under their names; a name that is `taken` already gets the metric's before it (`bleu_score`).

    Raises:
        UserError: an unknown metric, or a result that is not made of numbers.
        MissingPackageError: `evaluate:NAME` without the package.
    """
    results: dict[str, float] = {}
    seen = set(taken)
    for name in names:
        value = resolve_metric(name)(references, predictions)
        short = name.rpartition(":")[2].rpartition("/")[2]
        for key, number in _named(name, short, value).items():
            free = f"{short}_{key}" if key in seen and key != short else key
            seen.add(free)
            results[free] = number
    return results


def resolve_metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        UserError: no such metric.
        MissingPackageError: `evaluate:NAME` without the package.
    """
    if name.startswith(EVALUATE):
        return _from_evaluate(name)
    metric: Metric = METRICS.resolve(name)
    return metric


def _from_evaluate(name: str) -> Metric:
    _refuse_what_lies_here(name)
    try:
        import evaluate
    except ModuleNotFoundError as error:
        if error.name != "evaluate":
            raise
        raise MissingPackageError(f'evaluation.metrics "{name}"', "evaluate") from None
    try:
        loaded = evaluate.load(name.removeprefix(EVALUATE))
    except (FileNotFoundError, ConnectionError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f'evaluation.metrics "{name}" is neither on disk nor to be had from the hub: {reason}'
        ) from None

    def metric(references: Sequence[str], predictions: Sequence[str]) -> Mapping[str, float]:
        found = loaded.compute(references=list(references), predictions=list(predictions))
        return {key: value for key, value in found.items() if isinstance(value, int | float)}

    return metric


def _refuse_what_lies_here(name: str) -> None:
    """The package takes a script of the working directory for a name of the hub, and would run it."""
    place = Path(name.removeprefix(EVALUATE))
    scripts = (place, place / f"{place.name}.py")
    if metric_script(name) is None and (script := next((one for one in scripts if one.is_file()), None)) is not None:
        raise UserError(
            f'evaluation.metrics "{name}" is a name of the hub, but {script} is here too: '
            f'to run that file, write "{EVALUATE}./{script.as_posix()}"; else rename it'
        )


def _named(name: str, short: str, value: Any) -> dict[str, float]:
    items = dict(value) if isinstance(value, Mapping) else {short: value}
    try:
        return {str(key): float(number) for key, number in items.items()}
    except (TypeError, ValueError):
        raise UserError(f'metric "{name}" gave {value!r}: a number, or names and numbers, is needed') from None
