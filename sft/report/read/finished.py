"""What a report keeps of a result: little enough that ten thousand of them fit into memory. Judges nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sft.config.sections.schema import ExperimentConfig
from sft.config.sections.training import halved_batch
from sft.dataset.overlap import describe_overlap
from sft.io import canonical_json, json_line
from sft.log import plain
from sft.report.metrics import numbers
from sft.report.read.taken import Taken, taken
from sft.results.schema import RunResult

SPLITS = ("test", "validation")
MOST_POINTS = 100  # of a loss curve that are kept


@dataclass(frozen=True, slots=True)
class Finished:
    """What a report keeps of a result.

    Args:
        labelled_examples: how many labelled rows the recipe used in all.
        seconds: the run took.
        metrics: plain numbers by split and name.
        judged_on: for each split a text that is equal for runs that were judged on the same rows.
        halvings: how often the batch was halved, after the run had run out of memory.
        batch: what its batch became, `4 x 2 instead of 8 x 1`; empty where nothing was trained or halved.
        record: what `aggregated_results.json` holds of the result, as one line of JSON.
        rows: how many rows each split was judged on, where that is known.
        labels: how many labels there are; 0 for generated texts.
        training: JSON of how it was trained, `{}` where it was not: the result's `training` with at most `MOST_POINTS`
            entries of each history.
        environment: JSON of versions, Python, platform and commit; shared by the runs that have the same.
        data_notes: sentences on rows that are the same, in the evaluated split and the train split, say.
        undefined: why metrics of the test split are not there, by name.
        taken: how many labelled rows were taken of those asked for.
        threads: that it computed with, where that was recorded: results depend on it in their last digits.
    """

    labelled_examples: int
    seconds: float
    metrics: Mapping[str, Mapping[str, float]]
    judged_on: Mapping[str, str]
    halvings: int
    batch: str
    record: bytes
    rows: Mapping[str, int] = field(default_factory=dict)
    labels: int = 0
    training: bytes = b"{}"
    environment: str = "{}"
    data_notes: tuple[str, ...] = ()
    undefined: Mapping[str, str] = field(default_factory=dict)
    taken: tuple[Taken, ...] = ()
    threads: int | None = None


def finished(result: RunResult, config: ExperimentConfig) -> Finished:
    """The part of a result that reports need.

    Args:
        result: of the run.
        config: of the experiment, validated.
    """
    halvings = int(result.resources.get("batch_halvings", 0))
    return Finished(
        labelled_examples=result.labelled_examples,
        seconds=result.timings.get("total", 0.0),
        metrics={split: numbers(values) for split, values in _by_split(result.results).items()},
        judged_on={split: _judged_on(result, config, split) for split in SPLITS},
        halvings=halvings,
        batch=_batch(result, config) if halvings else "",
        record=_record(result),
        rows={split: size for split, size in result.data.get("rows", {}).items() if split in SPLITS},
        labels=len(result.results.get("support", {})),
        training=_line(_thinned(result.training), result),
        environment=sys.intern(canonical_json(result.environment)),
        data_notes=tuple(map(sys.intern, _data_notes(result))),
        undefined=_reasons(result.results),
        taken=taken(result, config),
        threads=result.resources.get("threads"),
    )


def _data_notes(result: RunResult) -> list[str]:
    name = Path(str(result.data.get("path", ""))).name
    return describe_overlap(result.data.get("overlap") or {}, plain(name))


def _reasons(results: Mapping[str, Any]) -> dict[str, str]:
    found = results.get("undefined")
    return {sys.intern(str(k)): sys.intern(str(why)) for k, why in found.items()} if isinstance(found, dict) else {}


def _thinned(training: Mapping[str, Any]) -> dict[str, Any]:
    """Histories of at most `MOST_POINTS` entries, evenly chosen, the first and the last among them."""
    return {
        key: evenly(value, MOST_POINTS) if key.endswith("_history") and isinstance(value, list | tuple) else value
        for key, value in training.items()
    }


def evenly(points: Sequence[Any], most: int) -> Sequence[Any]:
    """At most so many of some points, evenly chosen, the first and the last among them."""
    last = len(points) - 1
    return points if last < most else [points[round(place * last / (most - 1))] for place in range(most)]


def _record(result: RunResult) -> bytes:
    value = {
        "labelled_examples": result.labelled_examples,
        "results": result.results,
        "shots": result.shots,
        "timings": result.timings,
        "resources": result.resources,
    }
    return _line(value, result)


def _line(value: Any, result: RunResult) -> bytes:
    """A part of the result as one line of JSON."""
    if result.schema_version == 1:  # of before secrets were taken out; since then the file was written without
        return json_line(value)
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")


def _by_split(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    validation = results.get("validation")
    return {"test": results, "validation": validation if isinstance(validation, dict) else {}}


def _judged_on(result: RunResult, config: ExperimentConfig, split: str) -> str:
    dataset, data = config.dataset, result.data
    rows = data.get("rows", {}).get(split, dataset.max_n_test)  # max_n_test is one sample: its size tells which
    name = dataset.test_split if split == "test" else dataset.validation_split
    return sys.intern(canonical_json([data.get("sha256") or dataset.path, dataset.args, name, rows]))


def _batch(result: RunResult, config: ExperimentConfig) -> str:
    rows, parts = result.training.get("per_device_batch"), result.training.get("accumulation")
    if rows is None or parts is None or config.training is None:
        return ""
    whole = halved_batch(config.training.trainer_args, 0)
    return f"{rows} x {parts} instead of {whole.per_device} x {whole.accumulation}"
