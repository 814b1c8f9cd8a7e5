"""A report reads each file of a results folder once, however many runs there are; what ten thousand of them take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.io import read_regular
from sft.report.comparison import Built
from sft.report.formats.text import render_text
from sft.report.rows import compare
from sft.report.write import write_report
from sft.results.schema import RunResult
from sft.results.sealed import seal
from sft.results.store import ResultStore
from sft.sweep.planning.jobs import config_of, make_plan, write_plan
from sft.sweep.planning.options import SweepOptions
from sft.sweep.run import Sweep
from sft.sweep.screen.status import read_progress

NUMBER = 300


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    """Return a folder with the finished runs of a grid and its plan."""
    data: dict[str, Any] = {
        "dataset": {"path": "hub/data", "task_type": "classification", "shots": 8},
        "model": {"name": "hub/model"},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "training": {},
        "inference": {},
    }
    configs = {f"r={r}": ExperimentConfig.model_validate({**data, "lora": {"r": r}}) for r in range(1, NUMBER // 3 + 1)}
    plan, store = make_plan(Grid(Path("grid.jsonnet"), configs, (13, 14, 15)), None), ResultStore(tmp_path)
    for experiment in plan.experiments:
        folder = tmp_path / "runs" / experiment.folder_name
        folder.mkdir(parents=True)
        result = RunResult(
            name=experiment.name, id=experiment.id, recipe_id=experiment.recipe_id, seed=experiment.seed,
            endpoint="run-experiment", config=config_of(experiment), results={"accuracy": experiment.seed / 20},
            shots={}, labelled_examples=24, training={}, timings={}, resources={}, environment={}, data={},
        )  # fmt: skip
        (folder / "result.json").write_text(seal(result.model_dump(mode="json")))
    write_plan(plan, store)
    sweep = Sweep(plan, plan.experiments, store, SweepOptions(tmp_path))
    assert len(sweep.done) == NUMBER
    return store


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often folders are listed and files of each name are read."""
    counts: Counter[str] = Counter()
    scandir, listdir, read_bytes, read_text = os.scandir, os.listdir, Path.read_bytes, Path.read_text

    def counted(function: Any, what: str | None) -> Any:
        def call(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            counts[what or Path(path).name] += 1
            return function(path, *args, **kwargs)

        return call

    monkeypatch.setattr(os, "scandir", counted(scandir, "listings"))
    monkeypatch.setattr(os, "listdir", counted(listdir, "listings"))
    monkeypatch.setattr(Path, "read_bytes", counted(read_bytes, None))
    monkeypatch.setattr("sft.results.store.read_regular", counted(read_regular, None))
    monkeypatch.setattr(Path, "read_text", counted(read_text, None))
    return counts


def test_a_report_reads_each_result_once(store: ResultStore, reads: Counter[str]) -> None:
    comparison = compare(ResultStore(store.root))
    assert len(comparison.rows) == NUMBER // 3
    render_text(comparison)
    write_report(Built(comparison, {}), ("json", "md"))
    assert reads["listings"] <= 4
    del reads["listings"]
    assert reads == {"plan.json": 1, "result.json": NUMBER}


def test_the_seeds_of_a_configuration_share_one_config(store: ResultStore) -> None:
    comparison = compare(store)
    assert len({id(run.config) for run in comparison.runs}) == NUMBER // 3
    assert len({id(run.config.dataset) for run in comparison.runs}) == 1


def test_the_status_of_finished_runs_reads_no_results(store: ResultStore, reads: Counter[str]) -> None:
    assert read_progress(store.root).counts.done == NUMBER
    assert reads["result.json"] == 0
    assert reads["listings"] <= 2
    assert reads["state.json"] <= 50  # of the last ones, for the estimate


@pytest.mark.long
def test_ten_thousand_experiments(tmp_path: Path, repository: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(repository / "scripts" / "bench" / "scale.py"), "--json", str(figures)]
    subprocess.run(command, check=True)
    found = json.loads(figures.read_text())
    assert found["report"]["seconds"] < 60  # 28 of the processor
    assert found["plan"]["seconds"] < 10  # 5 on a machine that does nothing else
    assert found["status"]["seconds"] < 3
    assert not any(one["heavy"] for one in found.values())
    assert found["report"]["peak_mb"] < 700  # the pages of ten thousand runs; not in the sweep's parent
    assert all(one["peak_mb"] < 150 for name, one in found.items() if name != "report")
