"""The subject of a comparison, one line per data set: models, data, number of evaluated rows, labels."""

from __future__ import annotations

from sft.config.varying import show
from sft.report.comparison import Comparison
from sft.report.read.runs import Run

MOST_LINES = 6
_MOST_MODELS = 4


def subject(comparison: Comparison) -> list[str]:
    """Return lines like `stories260K · trec: 200 of its test rows, 6 labels`, for runs with results."""
    models: dict[str, dict[str, None]] = {}
    for run in comparison.runs:
        if run.result is not None:
            models.setdefault(_data_of(run), {})[show("model.name", run.config.model.name)] = None
    lines = [f"{_names(list(names))} · {data}" for data, names in models.items()]
    if len(lines) > MOST_LINES:
        return [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more"]
    return lines


def _data_of(run: Run) -> str:
    dataset, result = run.config.dataset, run.result
    rows = {} if result is None else result.rows
    sampled = "of its " if dataset.max_n_test is not None and rows.get("test") == dataset.max_n_test else ""
    parts = [f"{rows['test']:,} {sampled}test rows"] if "test" in rows else []
    parts += [f"{rows['validation']:,} validation rows"] if "validation" in rows else []
    parts += [f"{result.labels} labels"] if result is not None and result.labels else []
    name = show("dataset.path", dataset.path)
    return f"{name}: {', '.join(parts)}" if parts else name


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_MODELS} more models" if len(names) > _MOST_MODELS else ""
    return ", ".join(names[:_MOST_MODELS]) + more
