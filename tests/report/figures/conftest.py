"""Comparisons without files, and drawn figures as SVG."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from sft.config.sections.schema import ExperimentConfig
from sft.config.varying import varying_settings
from sft.report.comparison import Comparison, Row
from sft.report.figures.base import Spec, sized, themed
from sft.report.metrics import best_of, has_direction
from sft.report.read.finished import Finished
from sft.report.read.runs import Run
from sft.results.store import RunFolder

Metrics = Callable[[Mapping[str, Any], int], Mapping[str, Any] | None]
SVG = "{http://www.w3.org/2000/svg}"
MakeComparison = Callable[..., Comparison]
SECTIONS = {"shots": "dataset", "icl_examples": "inference", "instruction": "prompting"}


def config_of(varied: Mapping[str, Any]) -> ExperimentConfig:
    """Return a config with changed settings: `shots`, `r`, `init_lora_weights`, `icl_examples`, `calibration` …"""
    data: dict[str, Any] = {
        "dataset": {"path": "hub/data", "task_type": "classification"},
        "model": {"name": "hub/model"},
        "lora": {"r": 8},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "training": {"trainer_args": {}},
        "inference": {},
    }
    for name, value in varied.items():
        if name in ("learning_rate", "max_steps"):
            data["training"]["trainer_args"][name] = value
        elif name == "calibration":
            data["inference"]["calibration_args"] = {"calibration_fn": value} if value else None
        else:
            data[SECTIONS.get(name, "lora")][name] = value
    return ExperimentConfig.model_validate(data)


def make_comparison(
    varied: Sequence[Mapping[str, Any]],
    metrics: Metrics,
    seeds: Sequence[int] = (13, 14, 15),
    names: Sequence[str] | None = None,
) -> Comparison:
    """Return a comparison with a row for each of `varied`. A run failed if `metrics(settings, seed)` is None."""
    configs = [config_of(one) for one in varied]
    rows = []
    for number, (one, config) in enumerate(zip(varied, configs, strict=True)):
        name = names[number] if names else " ".join(f"{key}={value}" for key, value in one.items()) or "only"
        of_row = seeds if config.dataset.shots != 0 else seeds[:1]
        rows.append(Row(tuple(_run(name, number, seed, config, metrics(one, seed)) for seed in of_row), name))
    keys = tuple(dict.fromkeys(key for row in rows for key in row.metrics()))
    return Comparison(
        runs=tuple(run for row in rows for run in row.runs),
        rows=tuple(rows),
        settings=tuple(varying_settings(configs)),
        metrics=keys,
        best={key: _best(rows, key) for key in keys if has_direction(key)},
        chosen_on="test",
        comparable=True,
        baselines=(0,) * len(rows) if len(rows) > 1 else (None,),
    )


def _best(rows: Sequence[Row], key: str) -> tuple[int, ...]:
    means = {index: found.mean for index, row in enumerate(rows) if (found := row.estimate(key)) is not None}
    best = best_of(key, tuple(means.values()))
    return tuple(index for index, mean in means.items() if mean == best)


def _run(name: str, number: int, seed: int, config: ExperimentConfig, results: Mapping[str, Any] | None) -> Run:
    run_id = f"{number:06d}{seed:06d}"
    folder = RunFolder(Path("runs") / run_id)
    result = None
    if results is not None:
        per_label = {"a": 100, "b": 50}
        record = json.dumps({"results": dict(results), "shots": {"per_label": per_label, "drawn": 150}}).encode()
        plain = {key: float(value) for key, value in results.items() if isinstance(value, int | float)}
        training = {"loss_history": [{"step": step, "loss": 3 / step} for step in range(1, 40)],
                    "validation_history": [{"step": step, "loss": 3 / step + 1} for step in (10, 20, 30)]}  # fmt: skip
        result = Finished(
            labelled_examples=0, seconds=1.0, metrics={"test": plain}, evaluated_on={"test": "same"}, halvings=0,
            batch="", record=record, training=json.dumps(training).encode(),
        )  # fmt: skip
    state = "failed" if results is None else "done"
    return Run(f"{name} seed={seed}", run_id, f"recipe-{number}", seed, folder, config, state, result=result)


@pytest.fixture
def made() -> MakeComparison:
    return make_comparison


class Drawn:
    """A figure as SVG: its elements, texts and marks."""

    def __init__(self, spec: Spec, dark: bool = False) -> None:
        import vl_convert

        self.svg = str(vl_convert.vegalite_to_svg(sized(themed(spec, dark), 640), allowed_base_urls=[]))
        self.elements = list(ElementTree.fromstring(self.svg).iter())  # noqa: S314 - we made it
        self.texts = [one.text or "" for one in self.elements if one.tag == f"{SVG}text"]

    def of(self, kind: str) -> list[ElementTree.Element]:
        """Return the marks of a kind (`symbol`, `rect`, `line`, `area`, `rule`, `text`), without axes and legends."""
        groups = [one for one in self.elements if one.get("class", "").startswith(f"mark-{kind} role-mark")]
        return [mark for group in groups for mark in group]

    def marks(self, kind: str) -> int:
        """Return the number of marks of a kind."""
        return len(self.of(kind))


@pytest.fixture
def draw() -> Callable[..., Drawn]:
    return Drawn
