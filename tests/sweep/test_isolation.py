"""The outputs of an experiment are the same byte for byte, however its process is created."""

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
from sft.sweep.planning.check import load_plan


def outputs_of(results: Path) -> dict[str, Any]:
    """Return the files of each run that must not differ, its metrics and losses."""
    outputs: dict[str, Any] = {}
    for run in sorted((results / "runs").iterdir()):
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        files = [*run.glob("*.tsv"), *run.glob("*.safetensors"), run / "shots.json", *run.glob("adapter/*.safetensors")]
        outputs[run.name] = {file.name: file.read_bytes() for file in files}
        outputs[run.name] |= {"results": result["results"], "losses": result["training"]["loss_history"]}
    return outputs


def run_here(grid: Path, results: Path) -> None:
    """The experiments of a grid in this process, one after the other, each on a model of its own."""
    for experiment in load_plan(grid, None, "run-experiment").experiments:
        pipeline.run(experiment, ResultStore(results).folder(experiment.id, experiment.slug))


@pytest.mark.slow
@pytest.mark.parametrize("others", [[], pytest.param(["fork", "spawn"], marks=pytest.mark.long)])
def test_forked_new_and_resident_processes_give_the_same_outputs(
    tmp_path: Path, make_config: Callable[..., dict[str, Any]], others: list[str]
) -> None:
    """Forked and new processes are tested in the long run; on the demo also where `reproduce` is tested."""
    grid = tmp_path / "grid.json"
    lora = {"r": 2, "target_modules": "all-linear", "lora_dropout": 0.1, "init_lora_weights": "pissa"}
    grid.write_text(json.dumps({"configs": {"a": make_config(lora=lora)}, "seeds": [1, 2]}), encoding="utf-8")
    run_here(grid, tmp_path / "here")
    expected = outputs_of(tmp_path / "here")
    assert [len(files) for files in expected.values()] == [6, 6]
    for isolation in ("resident", *others):
        results = tmp_path / isolation
        command = [sys.executable, "-m", "sft.cli", "run-experiments", str(grid), "--results-path", str(results)]
        answer = subprocess.run([*command, "--isolation", isolation], capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert outputs_of(results) == expected, isolation
    logs = [log.read_text(encoding="utf-8") for log in (tmp_path / "resident").glob("runs/*/log.txt")]
    assert sorted("The base model is still loaded" in log for log in logs) == [False, True]
