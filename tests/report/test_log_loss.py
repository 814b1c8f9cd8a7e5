"""Log-loss of whole runs: stored scores, result and report agree."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from sft import pipeline
from sft.cli.main import app
from sft.config.experiment import Experiment
from sft.config.sections.schema import ExperimentConfig
from sft.results.store import ResultStore, RunFolder

MakeConfig = Callable[..., dict[str, Any]]
OWN = """
import numpy as np

def hard(evidence):
    return np.eye(evidence.scores_NL.shape[1])[evidence.scores_NL.argmax(axis=1)]
"""
CALIBRATIONS = (None, "contextual", "domain", "batch")


@pytest.fixture(scope="module")
def sure_model(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """The tiny model with logits a hundred times as large: label scores are hundreds of nats apart."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("sure")
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(100)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
    return folder


def ran(results: Path, config: dict[str, Any], name: str | None) -> RunFolder:
    calibration = {} if name is None else {"calibration_args": {"calibration_fn": name}}
    config = {**config, "inference": {"max_seq_length": 600, **calibration}}
    experiment = Experiment(name or "plain", ExperimentConfig.model_validate(config), 13, "evaluate")
    folder = ResultStore(results).folder(experiment.id, experiment.slug)
    pipeline.run(experiment, folder)
    return folder


def config_of(make_config: MakeConfig, model: Path) -> dict[str, Any]:
    return make_config(dataset__shots=0, lora=None, training=None, model__name=str(model))


def exact_loss(scores_NL: np.ndarray, truth_N: np.ndarray) -> float:
    """The mean of minus log-softmax, with fifty digits."""
    with localcontext() as context:
        context.prec = 50
        rows = [[Decimal(float(one)) for one in row] for row in scores_NL]
        losses = [sum((one - row[own]).exp() for one in row).ln() for row, own in zip(rows, truth_N, strict=True)]
        return float(sum(losses) / len(losses))


def test_result_stored_scores_and_report_agree(make_config: MakeConfig, sure_model: Path, tmp_path: Path) -> None:
    folders = {name or "plain": ran(tmp_path, config_of(make_config, sure_model), name) for name in CALIBRATIONS}
    output = CliRunner().invoke(app, ["report", str(tmp_path), "--metric", "log_loss"])
    assert output.exit_code == 0, output.output
    rows = {row["name"]: row for row in json.loads((tmp_path / "aggregated_results.json").read_text())["rows"]}
    with (tmp_path / "aggregated_results.csv").open(encoding="utf-8", newline="") as file:
        sheet = {row["name"]: row for row in csv.DictReader(file)}
    for name, folder in folders.items():
        result = folder.result()
        assert result is not None
        scores = folder.read_scores()
        logs_NL = scores["sum_logprob"] if name == "plain" else scores["calibrated_logprob"]
        known = exact_loss(logs_NL, scores["label"])
        assert result.results["log_loss"] == pytest.approx(known, rel=1e-9)
        if name != "plain":
            assert result.results["uncalibrated"]["log_loss"] == pytest.approx(
                exact_loss(scores["sum_logprob"], scores["label"]), rel=1e-9
            )
        assert rows[name]["metrics"]["log_loss"]["mean"] == result.results["log_loss"]
        assert float(sheet[name]["log_loss.mean"]) == result.results["log_loss"]
        again = CliRunner().invoke(
            app, ["report", str(tmp_path), "--calibration", "none", "--output", str(tmp_path / "o")]
        )
        assert again.exit_code == 0, again.output
    plain = folders["plain"].read_scores()
    own_N = np.exp(plain["sum_logprob"] - plain["sum_logprob"].max(axis=1, keepdims=True))[range(9), plain["label"]]
    assert (own_N < 1e-16).any()  # rows that a clipped log-loss would have changed
    none = json.loads((tmp_path / "o" / "aggregated_results.json").read_text())["rows"]
    assert none[0]["metrics"]["log_loss"]["mean"] == pytest.approx(rows["plain"]["metrics"]["log_loss"]["mean"])


def test_rows_of_a_run_give_its_log_loss_so_that_it_is_tested(
    make_config: MakeConfig, sure_model: Path, tmp_path: Path
) -> None:
    for name in ("contextual", "batch"):
        ran(tmp_path, config_of(make_config, sure_model), name)
    output = CliRunner().invoke(app, ["report", str(tmp_path), "--metric", "log_loss"])
    assert "their predictions give other values than the result" not in output.output
    rows = json.loads((tmp_path / "aggregated_results.json").read_text())["rows"]
    assert rows[1]["metrics"]["log_loss"]["p_value"] is not None


def test_an_infinite_log_loss_is_null_everywhere_and_reported(
    make_config: MakeConfig, sure_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_hard.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = config_of(make_config, sure_model)
    folder = ran(tmp_path, config, "own_hard:hard")
    ran(tmp_path, config, None)
    result = folder.result()
    assert result is not None
    assert result.results["log_loss"] is None
    assert result.results["undefined"]["log_loss"].startswith("infinite, since ")
    output = CliRunner().invoke(app, ["report", str(tmp_path), "--metric", "log_loss"])
    assert output.exit_code == 0, output.output
    flat = " ".join(output.output.split())
    assert "log-loss is not defined for own_hard:hard: infinite, since " in flat
    sheet = list(csv.DictReader(io.StringIO((tmp_path / "aggregated_results.csv").read_text(encoding="utf-8"))))
    assert [row["log_loss.mean"] == "" for row in sheet if row["name"] == "own_hard:hard"] == [True]
