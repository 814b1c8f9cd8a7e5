"""The data check in a child: its findings, and that its own failure does not count as success."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sft.cli.main import app
from sft.io import write_json
from sft.launchers.base import Job, Status
from sft.secrets import VARIABLE
from sft.sweep.planning.check import load_plan
from sft.sweep.planning.options import SweepOptions
from sft.sweep.preflight import Checked, check_data, read_request


@pytest.fixture
def config(tmp_path: Path, make_config: Callable[..., dict[str, Any]]) -> Path:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(make_config(dataset__shots=0, lora=None, training=None)), encoding="utf-8")
    return path


def test_without_experiments_there_are_no_problems(tmp_path: Path) -> None:
    assert check_data([], SweepOptions(tmp_path)) == Checked({})


def test_a_failed_check_is_not_reported_as_valid(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # not a Python: represents any failure of the child
    monkeypatch.setattr(sys, "executable", "/bin/false")
    options = SweepOptions(config.parent, launcher_args={"isolation": "spawn"})
    checked = check_data(load_plan(config, None, None).experiments, options)
    assert checked == Checked({}, "exit code 1")
    answer = CliRunner().invoke(app, ["validate", str(config), "--data"])
    assert answer.exit_code == 1
    assert "All valid" not in answer.output
    assert "The data check itself failed" in answer.output


@pytest.mark.slow
def test_a_check_of_a_valid_config_finds_no_problems(config: Path) -> None:
    answer = CliRunner().invoke(app, ["validate", str(config), "--data"])
    assert answer.exit_code == 0, answer.output
    assert answer.output.splitlines()[-1] == "All valid."


def test_a_secret_is_passed_to_the_child_once_and_written_to_no_file(
    tmp_path: Path, make_config: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Job] = []

    class Launcher:
        def ready(self) -> bool:
            return True

        def start(self, job: Job) -> Launcher:
            asked.append(job)
            request = Path(job.argv[-4]).read_text(encoding="utf-8")
            assert "canary" not in request
            monkeypatch.setenv(VARIABLE, job.environment[VARIABLE])
            entries = read_request(Path(job.argv[-4]))
            assert {e["config"]["model"]["model_args"]["token"] for e in entries.values()} == {"hf_canary_01234567"}
            write_json(Path(job.argv[-3]), {"problems": {}, "breakdown": ""})
            return self

        def poll(self) -> Status:
            return Status(0, 0.0)

        def ask_to_end(self, number: int = 15) -> None: ...
        def kill(self) -> None: ...
        def close(self) -> None: ...

    grid = make_config(dataset__shots=0, lora=None, training=None)
    grid["model"]["model_args"] = {"token": "hf_canary_01234567"}
    both = {"a": grid, "b": {**grid, "prompting": {**grid["prompting"], "instruction": "Really?"}}}
    path = tmp_path / "grid.json"
    path.write_text(json.dumps({"configs": both}), encoding="utf-8")
    experiments = load_plan(path, None, None).experiments
    results = tmp_path / "results"
    results.mkdir()
    assert check_data(experiments, SweepOptions(tmp_path), Launcher(), parent=results) == Checked({})
    assert Path(asked[0].argv[-4]).parent.parent == results
    assert list(results.iterdir()) == []
    assert asked[0].environment[VARIABLE].count("canary") == 1


def test_a_problem_lists_its_experiments(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    single = json.loads(config.read_text(encoding="utf-8"))
    names = [f"with {word}" for word in "abc"]
    configs = {name: {**single, "prompting": {**single["prompting"], "instruction": name}} for name in names}
    config.write_text(json.dumps({"configs": configs}), encoding="utf-8")
    first, _, last = load_plan(config, None, None).experiments
    problems = {first.id: "no column", last.id: "no column"}
    monkeypatch.setattr("sft.sweep.preflight.check_data", lambda *_, **__: Checked(problems))
    answer = CliRunner().invoke(app, ["validate", str(config), "--data"])
    assert str(answer.exception) == "no column (with a, with c)"
    answer = CliRunner().invoke(app, ["validate", str(config)])
    assert answer.output.splitlines()[-1] == "Config valid; data and model were not opened: --data does that."
