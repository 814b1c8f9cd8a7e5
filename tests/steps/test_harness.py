"""Tasks of lm-eval from the command line: checked before the start, evaluated at the end, shown as columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sft import pipeline
from sft.cli.main import app
from sft.config.experiment import Experiment
from sft.config.reading.load import parse_config
from sft.errors import UserError
from sft.results.store import RunFolder

pytest.importorskip("lm_eval")
MakeConfig = Callable[..., dict[str, Any]]
TRIPS = "etc/demo/lm_eval/trips.yaml"


def invoke(*arguments: str | Path) -> str:
    answer = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_the_shipped_config_shows_what_is_forgotten(repository: Path, tmp_path: Path) -> None:
    """Zero-shot: the model knows trips well. The README shows what remains after training."""
    config = json.loads((repository / "etc/configs/json/demo_lm_eval.json").read_text(encoding="utf-8"))
    config["dataset"] |= {"shots": 0, "max_n_test": 6}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    invoke("run-experiment", path, "--results-path", tmp_path / "results")
    (run,) = (tmp_path / "results" / "runs").iterdir()
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    trips = result["results"]["lm_eval"]["trips"]
    assert (trips["acc"], trips["n"], trips["num_fewshot"]) == (1.0, 20, 0)
    assert result["timings"]["lm_eval"] > 0
    assert "lm-eval" in result["environment"]["packages"]
    shown = invoke("report", tmp_path / "results")
    assert "trips acc" in shown and "trips acc_norm" in shown and "1.000" in shown
    assert "stderr" not in shown
    record = json.loads((tmp_path / "results" / "aggregated_results.json").read_text(encoding="utf-8"))
    assert "lm_eval.trips.acc" in json.dumps(record)


def test_trained_and_zero_shot_models_are_evaluated_and_training_alone_is_not(
    repository: Path, make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(evaluation={"lm_eval": {"tasks": [str(repository / TRIPS)], "limit": 4}})
    found = {}
    for name, changed in (("whole", config), ("zero", {**config, "dataset": {**config["dataset"], "shots": 0}})):
        experiment = Experiment(name, parse_config(changed, name, tmp_path), 13, "run-experiment")
        found[name] = pipeline.run(experiment, RunFolder(tmp_path / f"{name}-{experiment.id}")).results
    assert {one["lm_eval"]["trips"]["n"] for one in found.values()} == {4}
    train = Experiment("train", parse_config(config, "train", tmp_path), 13, "train")
    assert "lm_eval" not in pipeline.run(train, RunFolder(tmp_path / f"train-{train.id}")).results


def test_missing_tasks_are_an_error_of_the_sweep(make_config: MakeConfig, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("task: [")
    configs = {
        "good": make_config(),
        "bad": make_config(evaluation={"lm_eval": {"tasks": [str(broken)]}}),
        "idle": make_config(evaluation={"lm_eval": {"tasks": [str(broken)]}}),
    }
    request = {
        name: {"config": config, "endpoint": "train" if name == "idle" else "run-experiment"}
        for name, config in configs.items()
    }
    checked = pipeline.check_data(request)
    assert checked["breakdown"] == ""
    assert list(checked["problems"]) == ["bad"]
    assert "broken.yaml cannot be read as a task of lm-eval" in checked["problems"]["bad"]


def test_a_task_that_cannot_be_evaluated_is_an_error_before_the_training(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"q": "x"}\n')
    task = {
        "task": "mine", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "q", "doc_to_choice": "options",
        "doc_to_target": "gold",
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(json.dumps(task))
    config = make_config(evaluation={"lm_eval": {"tasks": [str(tmp_path / "mine.yaml")]}})
    experiment = Experiment("x", parse_config(config, "x", tmp_path), 13, "run-experiment")
    monkeypatch.setattr(pipeline, "adapt", lambda *_: pytest.fail("was trained"))
    with pytest.raises(UserError, match=r"evaluation\.lm_eval: mine cannot be opened"):
        pipeline.run(experiment, RunFolder(tmp_path / f"x-{experiment.id}"))
