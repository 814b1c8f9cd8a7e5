"""Sweeps with standard streams that are files, full, or closed: every experiment runs, and the report is written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.results.schema import RunResult
from sft.results.store import ResultStore
from sft.sweep.planning.check import load_plan
from sft.sweep.planning.jobs import config_of

STREAMS = (">out 2>err", ">>out 2>&1", "2>&-", "1>&-", "0<&-", "0<&- 1>&- 2>&-", "2>/dev/full")
LONG = [(isolation, streams) for isolation in ("fork", "spawn") for streams in STREAMS]


@pytest.mark.long
@pytest.mark.parametrize(("isolation", "streams"), [("fork", ">>out 2>&-"), *LONG])
def test_a_sweep_with_any_kind_of_streams(
    tmp_path: Path, make_config: Callable[..., dict[str, Any]], streams: str, isolation: str
) -> None:
    config = make_config(dataset__shots=0, lora=None, training=None)
    (tmp_path / "mine.json").write_text(json.dumps(config), encoding="utf-8")
    command = f'exec "$0" -m sft.cli run-experiments mine.json --isolation {isolation} {streams}'
    ended = subprocess.run(["/bin/sh", "-c", command, sys.executable], cwd=tmp_path, timeout=120, check=False)
    assert ended.returncode == 0
    [run] = (tmp_path / "results" / "runs").iterdir()
    assert json.loads((run / "result.json").read_text(encoding="utf-8"))["results"]
    assert "score" in (run / "log.txt").read_text(encoding="utf-8")
    assert (tmp_path / "results" / "report.html").is_file()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and its finished run, written by hand."""
    folder = tmp_path_factory.mktemp("done")
    section = {"dataset": {"path": "hub/data", "task_type": "classification"}, "model": {"name": "hub/model"}}
    prompting = {"input_columns": ["text"], "output_column": "label"}
    path = folder / "mine.json"
    path.write_text(json.dumps({**section, "prompting": prompting, "inference": {}}), encoding="utf-8")
    (experiment,) = load_plan(path, None, "run-experiment").experiments
    result = RunResult(
        name=experiment.name, id=experiment.id, recipe_id=experiment.recipe_id, seed=experiment.seed,
        endpoint="run-experiment", config=config_of(experiment), results={"accuracy": 0.5}, shots={},
        labelled_examples=0, training={}, timings={}, resources={}, environment={}, data={},
    )  # fmt: skip
    ResultStore(folder / "results").folder(experiment.id, experiment.slug).write_result(result)
    return folder


@pytest.mark.parametrize("streams", [">>out 2>&-", "0<&- 1>&- 2>&-", "2>/dev/full"])
def test_a_finished_sweep_with_streams_of_any_kind(done: Path, streams: str) -> None:
    """Its report is written. For a sweep that runs something, see `test_run.py` and the long tests above."""
    report = done / "results" / "report.html"
    report.unlink(missing_ok=True)
    command = f'exec "$0" -m sft.cli run-experiments mine.json {streams}'
    ended = subprocess.run(["/bin/sh", "-c", command, sys.executable], cwd=done, timeout=120, check=False)
    assert ended.returncode == 0
    assert report.is_file()
