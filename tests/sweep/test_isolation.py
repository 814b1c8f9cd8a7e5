"""However an experiment's process comes to be, what it leaves behind is the same, byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft import pipeline
from sft.results.store import ResultStore
from sft.sweep.check import load_plan


def left_behind(results: Path) -> dict[str, Any]:
    """The files of each run that must not differ, its metrics and losses."""
    found: dict[str, Any] = {}
    for run in sorted((results / "runs").iterdir()):
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        files = [*run.glob("*.tsv"), *run.glob("*.safetensors"), run / "shots.json", *run.glob("adapter/*.safetensors")]
        found[run.name] = {file.name: file.read_bytes() for file in files}
        found[run.name] |= {"results": result["results"], "losses": result["training"]["loss_history"]}
    return found


def run_here(grid: Path, results: Path) -> None:
    """The experiments of a grid in this process, one after the other, each on a model of its own."""
    for experiment in load_plan(grid, None, "run-experiment").experiments:
        pipeline.run(experiment, ResultStore(results).folder(experiment.id, experiment.slug))


@pytest.mark.slow
@pytest.mark.parametrize("others", [[], pytest.param(["fork", "spawn"], marks=pytest.mark.long)])
def test_forked_fresh_and_kept_processes_give_the_same(
    tmp_path: Path, make_config: Callable[..., dict[str, Any]], others: list[str]
) -> None:
    """Forked and fresh ones in the long run; of the demo also where `reproduce` is tested."""
    grid = tmp_path / "grid.json"
    lora = {"r": 2, "target_modules": "all-linear", "lora_dropout": 0.1, "init_lora_weights": "pissa"}
    grid.write_text(json.dumps({"configs": {"a": make_config(lora=lora)}, "seeds": [1, 2]}), encoding="utf-8")
    run_here(grid, tmp_path / "here")
    expected = left_behind(tmp_path / "here")
    assert [len(files) for files in expected.values()] == [6, 6]
    for isolation in ("resident", *others):
        results = tmp_path / isolation
        command = [sys.executable, "-m", "sft.cli", "run-experiments", str(grid), "--results-path", str(results)]
        answer = subprocess.run([*command, "--isolation", isolation], capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert left_behind(results) == expected, isolation
    logs = [log.read_text(encoding="utf-8") for log in (tmp_path / "resident").glob("runs/*/log.txt")]
    assert sorted("The base model is still loaded" in log for log in logs) == [False, True]
