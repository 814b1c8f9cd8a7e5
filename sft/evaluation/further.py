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
    """Compute the requested metrics, in one flat dict.

    A single number is listed under the metric's short name (`my_function` for `my_module:my_function`), named numbers
    under their own names. A name that is in `taken` gets the metric's name as a prefix (`bleu_score`).

    Raises:
        UserError: an unknown metric, or a result that is not a number or named numbers.
        MissingPackageError: `evaluate:NAME` without the package.
    """
    results: dict[str, float] = {}
    seen = set(taken)
    for name in names:
        value = resolve_metric(name)(references, predictions)
        short = name.rpartition(":")[2].rpartition("/")[2]
        for key, number in _named(name, short, value).items():
            unique = f"{short}_{key}" if key in seen and key != short else key
            seen.add(unique)
            results[unique] = number
    return results


def resolve_metric(name: str) -> Metric:
    """Return the metric with a name.

    Raises:
        UserError: no such metric.
        MissingPackageError: `evaluate:NAME` without the package.
    """
    if name.startswith(EVALUATE):
        return _from_evaluate(name)
    metric: Metric = METRICS.resolve(name)
    return metric


def _from_evaluate(name: str) -> Metric:
    _refuse_local_script(name)
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
        raise UserError(f'evaluation.metrics "{name}" was found neither locally nor on the Hub: {reason}') from None

    def metric(references: Sequence[str], predictions: Sequence[str]) -> Mapping[str, float]:
        computed = loaded.compute(references=list(references), predictions=list(predictions))
        return {key: value for key, value in computed.items() if isinstance(value, int | float)}

    return metric


def _refuse_local_script(name: str) -> None:
    """Refuse a script of the working directory that has the name of a metric on the Hub: the package would run it."""
    path = Path(name.removeprefix(EVALUATE))
    scripts = (path, path / f"{path.name}.py")
    if metric_script(name) is None and (script := next((file for file in scripts if file.is_file()), None)) is not None:
        raise UserError(
            f'evaluation.metrics "{name}" is a name on the Hub, but {script} exists here too; '
            f'to run this file, write "{EVALUATE}./{script.as_posix()}", else rename it'
        )


def _named(name: str, short: str, value: Any) -> dict[str, float]:
    items = dict(value) if isinstance(value, Mapping) else {short: value}
    try:
        return {str(key): float(number) for key, number in items.items()}
    except (TypeError, ValueError):
        raise UserError(f'metric "{name}": expected a number or a dictionary of numbers, got {value!r}') from None
