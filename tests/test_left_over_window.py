"""A model whose config names a sliding window that its architecture ignores, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from sft.cli.main import app


@pytest.fixture
def folders(tmp_path: Path, make_model: Callable[..., Any], tokenizer: Any) -> list[Path]:
    """The same tiny Llama twice; the config of the second has a field that is left over."""
    made = []
    for name, fields in (("plain", {}), ("left over", {"sliding_window": 32})):
        folder = tmp_path / name
        make_model(initializer_range=0.3).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | fields), encoding="utf-8")
        made.append(folder)
    return made


def run(command: str, config: dict[str, Any], folder: Path) -> tuple[Path, dict[str, Any]]:
    """A command's run folder and results."""
    folder.mkdir()
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    answer = CliRunner().invoke(app, [command, str(path), "--results-path", str(folder / "results")])
    assert answer.exit_code == 0, answer.output
    (found,) = (folder / "results" / "runs").iterdir()
    return found, json.loads((found / "result.json").read_text(encoding="utf-8"))["results"]


def test_scores_are_those_without_the_field(folders: list[Path], make_config: Any, tmp_path: Path) -> None:
    scores, engines = [], []
    for number, folder in enumerate(folders):
        config = make_config(model__name=str(folder), training__trainer_args={"max_steps": 1})
        found, results = run("run-experiment", config, tmp_path / f"run {number}")
        scores.append(load_file(found / "label_scores.safetensors")["sum_logprob"])
        engines.append(results["scoring_engine"])
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-3)  # the training sums in another order too
    assert engines[0] == "prompts and label tree in one sequence"
    assert engines[1].startswith(f"{engines[0]}, without the sliding window of its config: its label scores differ")


def test_answers_are_those_without_the_field(folders: list[Path], make_config: Any, tmp_path: Path) -> None:
    answers, engines = [], []
    for number, folder in enumerate(folders):
        changes = {"dataset__task_type": "generation", "dataset__shots": 0, "prompting__max_output_length": 8}
        found, results = run("evaluate", make_config(model__name=str(folder), **changes), tmp_path / f"run {number}")
        answers.append((found / "predictions.tsv").read_text(encoding="utf-8"))
        engines.append(results.get("generation_engine"))
    assert answers[0] == answers[1]
    assert engines[0] is None
    assert engines[1].startswith("without the sliding window of its config: its log-probabilities differ")
