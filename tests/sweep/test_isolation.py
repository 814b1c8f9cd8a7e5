"""However an experiment's process comes to be, what it leaves behind is the same, byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def left_behind(results: Path) -> dict[str, Any]:
    """The files of each run that must not differ, its metrics and losses."""
    found: dict[str, Any] = {}
    for run in sorted((results / "runs").iterdir()):
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        files = [*run.glob("*.tsv"), *run.glob("*.safetensors"), run / "shots.json", *run.glob("adapter/*.safetensors")]
        found[run.name] = {file.name: file.read_bytes() for file in files}
        found[run.name] |= {"results": result["results"], "losses": result["training"]["loss_history"]}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("others", [["resident"], pytest.param(["spawn", "resident"], marks=pytest.mark.long)])
def test_forked_fresh_and_kept_processes_give_the_same(
    tmp_path: Path, make_config: Callable[..., dict[str, Any]], others: list[str]
) -> None:
    """Fresh ones in the long run, and in `test_fixed_threads.py`."""
    grid = tmp_path / "grid.json"
    lora = {"r": 2, "target_modules": "all-linear", "lora_dropout": 0.1, "init_lora_weights": "pissa"}
    grid.write_text(json.dumps({"configs": {"a": make_config(lora=lora)}, "seeds": [1, 2]}), encoding="utf-8")
    found = {}
    for isolation in ("fork", *others):
        results = tmp_path / isolation
        command = [sys.executable, "-m", "sft.cli", "run-experiments", str(grid), "--results-path", str(results)]
        answer = subprocess.run([*command, "--isolation", isolation], capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        found[isolation] = left_behind(results)
    assert [len(files) for files in found["fork"].values()] == [6, 6]
    assert all(found["fork"] == found[isolation] for isolation in others)
    logs = [log.read_text(encoding="utf-8") for log in (tmp_path / "resident").glob("runs/*/log.txt")]
    assert sorted("The base model is still loaded" in log for log in logs) == [False, True]
