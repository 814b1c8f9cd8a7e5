"""From run folders to rows: runs that differ only by seed are one row, with mean and standard deviation.

Knows result files and the plan; knows nothing of Markdown or terminals.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sft.config.schema import ExperimentConfig
from sft.config.varying import Setting, varying_settings
from sft.errors import UserError, did_you_mean
from sft.results.schema import RunResult, RunState
from sft.results.store import ResultStore, RunFolder

# Shown in tables, in this order, where a run has them; aggregated_results.json holds all.
HEADLINE_METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "ece": "ECE",
    "exact_match": "exact match",
    "token_f1": "token F1",
    "rougeL": "ROUGE-L",
    "bleu": "BLEU",
    "chrf": "chrF",
}
LOWER_IS_BETTER = frozenset({"ece", "brier", "log_loss"})


@dataclass(frozen=True)
class Run:
    """One experiment, finished or not.

    Args:
        name, id, recipe_id, seed, folder: of the experiment.
        config: its validated config, for what varies.
        state: `done`, `failed`, `oom`, `timeout`, `interrupted`, `running` or `missing`.
        error: why it did not finish.
        result: its valid result, if it finished.
    """

    name: str
    id: str
    recipe_id: str
    seed: int
    folder: RunFolder
    config: ExperimentConfig
    state: str
    error: str = ""
    result: RunResult | None = None

    def metrics(self, split: str = "test") -> dict[str, float]:
        """The plain numbers of its result."""
        if self.result is None:
            return {}
        values = self.result.results if split == "test" else self.result.results.get(split, {})
        return {key: float(v) for key, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}


class Estimate(NamedTuple):
    """A metric over the seeds of a row: mean, standard deviation (n - 1; None for one run), number of runs."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """The runs of one configuration."""

    runs: tuple[Run, ...]
    name: str
    labelled: tuple[int, ...] = ()
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    validation: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def finished(self) -> int:
        """How many of its runs have a result."""
        return sum(run.result is not None for run in self.runs)


@dataclass(frozen=True)
class Comparison:
    """Everything a report shows.

    Args:
        runs: every experiment of the plan (or of the folder), in order.
        rows: one per configuration, in the same order.
        settings: what varies between rows; each setting's values stand in the order of `rows`.
        metrics: keys of the metrics shown, in order.
        best: metric -> index of the best row.
        chosen_on: the split on which the best row was chosen.
        baseline: index of the row that others are compared with.
    """

    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    settings: tuple[Setting, ...]
    metrics: tuple[str, ...]
    best: Mapping[str, int]
    chosen_on: str
    baseline: int | None = None

    @property
    def unfinished(self) -> tuple[Run, ...]:
        """The runs without a result."""
        return tuple(run for run in self.runs if run.result is None)


def compare(store: ResultStore, everything: bool = False, baseline: str | None = None) -> Comparison:
    """Lay out the runs of the last grid; with `everything`, or without a plan, all runs of the folder.

    Raises:
        UserError: no row has the name of the baseline, or there is nothing to report.
    """
    plan = None if everything else store.plan()
    runs = _planned_runs(store, plan) if plan is not None else _all_runs(store)
    if not runs:
        raise UserError(f"{store.root}: no runs to report; run-experiments writes them")
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.recipe_id, []).append(run)
    rows = tuple(_row(group) for group in groups.values())
    metrics = tuple(key for key in HEADLINE_METRICS if any(key in row.metrics for row in rows))
    on_validation = bool(rows) and all(row.validation for row in rows if row.metrics) and any(r.metrics for r in rows)
    return Comparison(
        runs=tuple(runs),
        rows=rows,
        settings=tuple(varying_settings([row.runs[0].config for row in rows])),
        metrics=metrics,
        best={key: best for key in metrics if (best := _best(rows, key, on_validation)) is not None},
        chosen_on="validation" if on_validation else "test",
        baseline=None if baseline is None else _named(rows, baseline),
    )


def _named(rows: Sequence[Row], name: str) -> int:
    names = [row.name for row in rows]
    if name not in names:
        raise UserError(f'--baseline: no row is named "{name}"{did_you_mean(name, names)} (rows: {", ".join(names)})')
    return names.index(name)


def _planned_runs(store: ResultStore, plan: Sequence[Mapping[str, Any]]) -> list[Run]:
    runs = []
    for entry in plan:
        folder = store.folder(str(entry["id"]), str(entry["folder"]).rpartition("-")[0])
        result, state = folder.result(), folder.state()
        config = ExperimentConfig.model_validate_json(json.dumps(entry["config"]))
        runs.append(
            Run(
                name=str(entry["name"]),
                id=str(entry["id"]),
                recipe_id=str(entry["recipe_id"]),
                seed=int(entry["seed"]),
                folder=folder,
                config=config,
                state="done" if result else _state(state),
                error="" if result or state is None else state.error,
                result=result,
            )
        )
    return runs


def _all_runs(store: ResultStore) -> list[Run]:
    runs = []
    for folder in store.folders():
        result = folder.result()
        if result is None:
            continue  # without a plan there is no telling whether it is wanted
        config = ExperimentConfig.model_validate_json(json.dumps(result.config))
        runs.append(
            Run(result.name, result.id, result.recipe_id, result.seed, folder, config, state="done", result=result)
        )
    return runs


def _state(state: RunState | None) -> str:
    return "missing" if state is None else state.state


def _row(runs: Sequence[Run]) -> Row:
    name = runs[0].name.removesuffix(f" seed={runs[0].seed}")
    return Row(
        runs=tuple(runs),
        name=name,
        labelled=tuple(run.result.labelled_examples for run in runs if run.result is not None),
        metrics=_estimates([run.metrics() for run in runs]),
        validation=_estimates([run.metrics("validation") for run in runs]),
    )


def _estimates(values: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
    """Mean and sample standard deviation of each metric over the runs that have it."""
    estimates = {}
    for key in dict.fromkeys(key for one in values for key in one):
        found = [one[key] for one in values if key in one]
        spread = statistics.stdev(found) if len(found) > 1 else None
        estimates[key] = Estimate(statistics.fmean(found), spread, len(found))
    return estimates


def _best(rows: Sequence[Row], metric: str, on_validation: bool) -> int | None:
    """The row with the best mean: of the validation split where all rows have one, so as not to choose on the test."""
    means = {
        index: (row.validation if on_validation else row.metrics)[metric].mean
        for index, row in enumerate(rows)
        if metric in (row.validation if on_validation else row.metrics)
    }
    if len(means) < 2:
        return None
    return (min if metric in LOWER_IS_BETTER else max)(means, key=lambda index: means[index])
