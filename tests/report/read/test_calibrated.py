"""Another calibration of stored scores gives the metrics of a run with that calibration, without a model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sft import pipeline
from sft.cli.main import app
from sft.config.experiment import Experiment
from sft.config.sections.schema import ExperimentConfig
from sft.errors import UserError
from sft.report.build import answers_under, build
from sft.report.choices import Choices
from sft.report.read.calibrated import calibrated_runs
from sft.report.rows import compare
from sft.results.store import ResultStore

MakeConfig = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, data_folder: Path) -> Path:
    """Three runs: uncalibrated, by batch, supervised."""
    folder = tmp_path_factory.mktemp("calibrated")
    base = {
        "dataset": {
            "path": str(data_folder), "task_type": "classification", "validation_split": "validation",
        },
        "model": {"name": str(model_folder)},
        "prompting": {"instruction": "How is it?", "input_columns": ["text"], "output_column": "label"},
        "evaluation": {"metrics": ["cohen_kappa"]},
    }  # fmt: skip
    for name in ("plain", "batch", "supervised"):
        inference = {} if name == "plain" else {"calibration_args": {"calibration_fn": name}}
        experiment = Experiment(name, ExperimentConfig.model_validate({**base, "inference": inference}))
        pipeline.run(experiment, ResultStore(folder).folder(experiment.id, experiment.slug))
    return folder


def metrics(results: Path, calibration: str | None = None) -> dict[str, tuple[dict[str, float], dict[str, float]]]:
    runs = compare(ResultStore(results)).runs
    selected = runs if calibration is None else calibrated_runs(runs, calibration)
    return {run.name: (dict(run.metrics()), dict(run.metrics("validation"))) for run in selected}


def test_it_gives_the_metrics_of_the_run(results: Path, caplog: pytest.LogCaptureFixture) -> None:
    ran, batch, supervised, none = (metrics(results, name) for name in (None, "batch", "supervised", "none"))
    for split in (0, 1):
        for calibrated, name in ((batch, "batch"), (supervised, "supervised"), (none, "plain")):
            assert calibrated[name][split] == pytest.approx(ran[name][split])
        assert batch["plain"][split] == pytest.approx(ran["batch"][split])
        assert none["batch"][split] == pytest.approx(ran["plain"][split])
    assert ran["batch"][0]["log_loss"] != pytest.approx(ran["plain"][0]["log_loss"])
    assert supervised["plain"] == ({}, {})
    assert "no metrics under --calibration supervised for batch and 1 more" in caplog.text


def test_the_command_shows_it_and_changes_no_file(results: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    shown = CliRunner().invoke(app, ["report", str(results), "--calibration", "contextual_alvaro"])
    assert shown.exit_code == 0, shown.output
    assert "All rows under the calibration contextual_alvaro, from their stored scores." in shown.output
    assert "No file is written with --calibration; name a folder with --output to write it." in shown.output
    assert [line.split()[0] for line in shown.output.splitlines()[1:2]] == ["plain"]  # the others are the same now
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before


def test_statistics_are_of_the_calibrated_answers(results: Path, tmp_path: Path) -> None:
    store = ResultStore(results)
    ran, shown = (build(compare(store, Choices(calibration=name)), with_details=False) for name in (None, "batch"))
    before, after = ({run.name: run for run in built.comparison.runs} for built in (ran, shown))
    probabilities = [
        answers.probabilities_NL
        for built, run in ((ran, before["batch"]), (shown, after["plain"]), (ran, before["plain"]))
        if (answers := answers_under(built.comparison, run)) is not None and answers.probabilities_NL is not None
    ]
    assert probabilities[1] == pytest.approx(probabilities[0], abs=1e-5)
    assert probabilities[1] != pytest.approx(probabilities[2], abs=1e-5)
    calibrated, as_ran = shown.comparison.significance.runs, ran.comparison.significance.runs
    assert calibrated[after["plain"].id, "accuracy"] == as_ran[before["batch"].id, "accuracy"]
    answer = CliRunner().invoke(app, ["report", str(results), "--calibration", "batch", "--output", str(tmp_path)])
    assert answer.exit_code == 0, answer.output
    assert json.loads((tmp_path / "aggregated_results.json").read_text())["calibration"] == "batch"


def test_no_model_is_imported(results: Path) -> None:
    code = (
        "import sys; from sft.cli.main import run_command\n"
        f"assert run_command(['report', {str(results)!r}, '--calibration', 'batch']) == 0\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'peft') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("name", "what"),
    [("bach", 'unknown calibration "bach"; did you mean "batch"?'), ("nowhere:f", 'no module "nowhere"')],
)
def test_an_unknown_calibration_is_one_line(results: Path, name: str, what: str) -> None:
    with pytest.raises(UserError, match=what):
        compare(ResultStore(results), Choices(calibration=name))


def test_runs_without_scores_have_no_metrics(results: Path, tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for folder in ResultStore(results).folders():
        copy = tmp_path / "runs" / folder.path.name
        copy.mkdir(parents=True)
        for name in ("result.json", "config.json", "state.json"):
            (copy / name).write_bytes((folder.path / name).read_bytes())
    with pytest.raises(UserError, match=r"--calibration batch: label_scores\.safetensors is missing"):
        compare(store, Choices(calibration="batch"))
    for folder in store.folders():
        (folder.path / "label_scores.safetensors").write_bytes(json.dumps({}).encode())
    with pytest.raises(UserError, match=r"label_scores\.safetensors is not the file that the run wrote"):
        compare(store, Choices(calibration="batch"))
    for folder in store.folders():
        result = folder.result()
        assert result is not None
        folder.write_result(result)
    with pytest.raises(UserError, match=r"label_scores\.safetensors cannot be read"):
        compare(store, Choices(calibration="batch"))


def test_code_that_only_runs_name_is_left_out_without_trust(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "foreign_metric.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'executed')!r}).touch()\n"
        "def always(references, predictions): return 0.25\n"
    )
    monkeypatch.chdir(tmp_path)
    store = ResultStore(Path(shutil.copytree(results, tmp_path / "copy")))
    for folder in store.folders():
        result = folder.result()
        assert result is not None
        config = {**result.config, "evaluation": {"metrics": ["cohen_kappa", "foreign_metric:always"]}}
        folder.write_result(result.model_copy(update={"config": config}))
    comparison = compare(store, Choices(calibration="none"))
    assert not (tmp_path / "executed").exists()
    assert "use --trust to run it" in caplog.text
    assert {"always", "cohen_kappa"} & {*comparison.runs[0].metrics()} == {"cohen_kappa"}
    trusted = compare(store, Choices(calibration="none", trust=True))
    assert trusted.runs[0].metrics()["always"] == 0.25


def test_results_of_lm_eval_tasks_are_kept(results: Path, tmp_path: Path) -> None:
    store = ResultStore(Path(shutil.copytree(results, tmp_path / "copy")))
    for folder in store.folders():
        result = folder.result()
        assert result is not None
        given = {**result.results, "lm_eval": {"trips": {"acc": 0.5, "acc_stderr": 0.1}}}
        folder.write_result(result.model_copy(update={"results": given}))
    test, validation = metrics(store.root, "batch")["plain"]
    assert test["lm_eval.trips.acc"] == 0.5
    assert not [name for name in validation if name.startswith("lm_eval.")]
    assert test["log_loss"] == metrics(results, "batch")["plain"][0]["log_loss"]
