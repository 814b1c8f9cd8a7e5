"""Reproducing a run: what is run and where, what is not modified, which warnings come first, what is impossible."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sft.cli.main import app
from sft.config.experiment import Experiment
from sft.config.reading.load import parse_config
from sft.config.sections.schema import Endpoint
from sft.errors import UserError
from sft.results.locks import RunBusyError
from sft.results.schema import RunResult
from sft.results.store import ResultStore, RunFolder
from sft.sweep import reproducing
from sft.sweep.planning.jobs import config_of

Configs = Callable[..., dict[str, Any]]


def run_cli(*arguments: object) -> tuple[int, str]:
    """Run a command and return its exit code and output; raise its errors."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    return result.exit_code, result.output


def finished(root: Path, config: Mapping[str, Any], endpoint: Endpoint = "run-experiment", **changes: Any) -> RunFolder:
    """Create a run folder like that of a finished run."""
    parsed = parse_config(config, "x.json", root)
    experiment = Experiment("one", parsed, 14, endpoint)
    folder = ResultStore(root / "results").folder(experiment.id, experiment.slug)
    folder.write_config(config_of(experiment))
    folder.write_predictions({"text": ["x", "y"], "predictions": ["good", "bad"]})
    fields: dict[str, Any] = {
        "name": "one", "id": experiment.id, "recipe_id": experiment.recipe_id, "seed": 14, "endpoint": endpoint,
        "config": config_of(experiment), "results": {"accuracy": 0.5}, "shots": {}, "labelled_examples": 0,
        "training": {}, "timings": {}, "resources": {"threads": 1}, "environment": {"python": "3"}, "data": {},
    }  # fmt: skip
    folder.write_result(RunResult(**{**fields, **changes}))
    return folder


@pytest.fixture
def zero(make_config: Configs) -> dict[str, Any]:
    return make_config(dataset__shots=0, lora=None, training=None)


@pytest.fixture
def redone(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write the recorded result with these metrics instead of running; `times` counts the calls."""
    replaced: dict[str, Any] = {"results": {"accuracy": 0.5}, "times": 0}

    def write_result(run: reproducing.Recorded, folder: RunFolder, results: Path) -> None:
        replaced["times"] += 1
        shutil.copytree(run.folder.path, folder.path, dirs_exist_ok=True)
        changes = {
            "id": run.experiment.id,
            "results": replaced["results"],
            "data": replaced.get("data", run.result.data),
        }
        folder.write_result(run.result.model_copy(update=changes))

    monkeypatch.setattr(reproducing, "run_again", write_result)
    return replaced


def files_of(folder: RunFolder) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.path.rglob("*")) if file.is_file()}


@pytest.mark.slow
def test_a_reproduced_training_is_bit_identical(
    make_config: Configs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = {"max_steps": 2, "per_device_train_batch_size": 2, "output_dir": str(tmp_path / "adapters")}
    config = make_config(training={"trainer_args": arguments}, name="one")
    (tmp_path / "one.json").write_text(json.dumps(config), encoding="utf-8")
    results = tmp_path / "results"
    code, output = run_cli("run-experiment", tmp_path / "one.json", "--results-path", results, "--random-seed", 14)
    assert code == 0, output
    (folder,) = ResultStore(results).folders()
    before, adapter = files_of(folder), files_of(RunFolder(tmp_path / "adapters"))
    assert adapter
    capfd.readouterr()
    code, output = run_cli("reproduce", results / "one")
    assert code == 0, output
    assert "all 9 predictions are the same, and all label scores too\nReproduced exactly." in output
    assert "training.loss" in output
    assert "score" in capfd.readouterr().err  # its progress
    assert (files_of(folder), files_of(RunFolder(tmp_path / "adapters"))) == (before, adapter)
    (again,) = ResultStore(tmp_path / "results-reproduced").folders()
    assert (again.adapter / "adapter_model.safetensors").exists()
    result, first = again.result(), folder.result()
    assert result is not None
    assert first is not None
    assert (result.id, result.seed, result.training["loss_history"]) == (first.id, 14, first.training["loss_history"])


def test_agreement_is_exit_code_0_and_disagreement_is_1(
    zero: dict[str, Any], tmp_path: Path, redone: dict[str, Any]
) -> None:
    run = finished(tmp_path, zero)
    code, output = run_cli("reproduce", run.path)
    assert (code, redone["times"]) == (0, 1)
    assert f"Run again: {tmp_path}/results-reproduced/runs/{run.path.name}" in output
    code, output = run_cli("reproduce", run.path)
    assert (code, redone["times"]) == (0, 1)
    assert "(--again repeats it)" in output
    redone["results"] = {"accuracy": 0.25}
    code, output = run_cli("reproduce", run.path, "--again")
    assert (code, redone["times"]) == (1, 2)
    assert "Not reproduced, metrics differ: accuracy." in output
    earlier = tmp_path / "results-reproduced" / reproducing.EARLIER / f"{run.path.name}.1"
    assert json.loads((earlier / "result.json").read_text())["results"] == {"accuracy": 0.5}  # nothing is lost


def test_it_runs_in_any_folder_except_that_of_the_run_itself(
    zero: dict[str, Any], tmp_path: Path, redone: dict[str, Any]
) -> None:
    run = finished(tmp_path, zero)
    with pytest.raises(UserError, match="contains the run itself; choose another folder"):
        run_cli("reproduce", run.path, "--results-path", tmp_path / "x" / ".." / "results")
    assert redone["times"] == 0
    run_cli("reproduce", run.path, "--results-path", tmp_path / "there")
    assert (tmp_path / "there" / "runs" / run.path.name / "result.json").exists()


def test_changed_data_is_reported_first(zero: dict[str, Any], tmp_path: Path, redone: dict[str, Any]) -> None:
    shutil.copytree(zero["dataset"]["path"], tmp_path / "data")
    zero["dataset"]["path"] = str(tmp_path / "data")
    run = finished(tmp_path, zero, data={"sha256": "0" * 64})
    code, output = run_cli("reproduce", run.path)
    assert (code, "warning" in output) == (0, False)  # the id depends on the content, which has not changed
    with (tmp_path / "data" / "test.csv").open("a", encoding="utf-8") as file:
        file.write("more,good\n")
    redone["data"] = {"sha256": "1" * 64}
    code, output = run_cli("reproduce", run.path)
    assert output.startswith(f"warning: the data has changed: {tmp_path / 'data'}\n")
    assert code == 1
    assert "Not reproduced: the metrics agree, but the data has changed (" in output.splitlines()[-1]
    assert redone["times"] == 2  # another experiment than the one reproduced before


def test_a_changed_model_is_reported_first(zero: dict[str, Any], tmp_path: Path, redone: dict[str, Any]) -> None:
    shutil.copytree(zero["model"]["name"], tmp_path / "model")
    zero["model"]["name"] = str(tmp_path / "model")
    run = finished(tmp_path, zero)
    (tmp_path / "model" / "more.txt").write_text("x")
    _, output = run_cli("reproduce", run.path)
    assert output.startswith(f"warning: its id has changed ({run.id}, now ")
    assert "a model, an adapter or a plugin" in output.splitlines()[0]


def test_an_unrecorded_date_is_reported_first(zero: dict[str, Any], tmp_path: Path, redone: dict[str, Any]) -> None:
    shutil.copytree(zero["model"]["name"], tmp_path / "model")
    zero["model"]["name"] = str(tmp_path / "model")
    template = tmp_path / "model" / "chat_template.jinja"
    template.write_text("{{ strftime_now('%Y') }}" + template.read_text(encoding="utf-8"), encoding="utf-8")
    run = finished(tmp_path, zero)
    _, output = run_cli("reproduce", run.path)
    assert output.startswith("warning: prompting.date was not recorded: ")
    assert "it now shows 2024-07-26" in output
    dated = {**zero, "prompting": {**zero["prompting"], "date": "2030-01-02"}}
    run = finished(tmp_path / "dated", dated)
    code, output = run_cli("reproduce", run.path)
    assert (code, "warning" in output) == (0, False)
    assert redone["times"] == 2


def test_the_key_of_a_removed_secret_is_reported(zero: dict[str, Any], tmp_path: Path) -> None:
    run = finished(tmp_path, {**zero, "model": {**zero["model"], "model_args": {"token": "hf_0123456789abcdef"}}})
    with pytest.raises(UserError, match=r"a secret was removed from model\.model_args\.token; add it"):
        run_cli("reproduce", run.path)


@pytest.mark.parametrize(
    ("section", "changes", "named"),
    [
        ("model", {"model_args": {"trust_remote_code": True}}, r"trust_remote_code \(the code of "),
        ("evaluation", {"metrics": ["token_f1", "mine:metric"]}, r"evaluation\.metrics \(mine:metric\)"),
        ("evaluation", {"metrics": ["evaluate:wer"]}, r"evaluation\.metrics \(evaluate:wer\)"),
        ("inference", {"calibration_args": {"calibration_fn": "mine:calibrate"}}, r"calibration_fn \(mine:calibrate\)"),
        ("inference", {"icl_selection": "mine:select"}, r"icl_selection \(mine:select\)"),
        (
            "evaluation",
            {"lm_eval": {"tasks": ["./mine.yaml"], "allow_code": True}},
            r"lm_eval\.allow_code \(the tasks .*mine\.yaml\)",
        ),
    ],
)
def test_code_named_in_a_record_runs_only_with_trust(
    section: str, changes: dict[str, Any], named: str, zero: dict[str, Any], tmp_path: Path, redone: dict[str, Any]
) -> None:
    (tmp_path / "mine.yaml").write_text("task: mine\n")
    run = finished(tmp_path, {**zero, section: {**zero.get(section, {}), **changes}})
    with pytest.raises(UserError, match=f"would run code named in its record: .*{named}.*add --trust"):
        run_cli("reproduce", run.path)
    assert redone["times"] == 0
    assert not (tmp_path / "results-reproduced").exists()
    run_cli("reproduce", run.path, "--trust")
    assert redone["times"] == 1


def test_missing_files_are_reported(zero: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(zero["dataset"]["path"], tmp_path / "data")
    zero["dataset"]["path"] = str(tmp_path / "data")
    run = finished(tmp_path, zero)
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(UserError, match=rf'config\.json: dataset\.path: "{tmp_path}/data" not found'):
        run_cli("reproduce", run.path)
    with pytest.raises(UserError, match="has no result: it never finished"):
        run.result_file.unlink()
        run_cli("reproduce", run.path)
    run.result_file.write_text("{}")
    with pytest.raises(UserError, match="cannot be used: it does not start with a checksum"):
        run_cli("reproduce", run.path)


def test_a_results_folder_with_an_adapter_can_be_moved(
    zero: dict[str, Any], tmp_path: Path, redone: dict[str, Any]
) -> None:
    adapter = tmp_path / "results" / "runs" / "trained-0" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    zero["model"]["adapter"] = str(adapter)
    run = finished(tmp_path, zero)
    moved = tmp_path / "elsewhere"
    (tmp_path / "results").rename(moved)
    code, output = run_cli("reproduce", moved / "one")
    assert (code, redone["times"]) == (0, 1)
    now = moved / "runs" / "trained-0" / "adapter"
    assert output.startswith(f"warning: model.adapter was {adapter}; it is now read from {now}\n")
    assert (tmp_path / "elsewhere-reproduced" / "runs" / run.path.name).is_dir()


def test_nothing_is_written_or_reported_outside_the_results_folder(make_config: Configs, tmp_path: Path) -> None:
    arguments = {
        "output_dir": "adapters",
        "hub_model_id": "me/x",
        "report_to": "none",
        "max_steps": 2,
    }
    run = finished(tmp_path, make_config(training__trainer_args=arguments))
    recorded = reproducing.recorded(run)
    assert recorded.config["training"]["trainer_args"] == {"max_steps": 2}
    assert (recorded.experiment.id, recorded.notes) == (run.id, ())


@pytest.mark.parametrize(
    ("endpoint", "command", "more"),
    [("evaluate", "evaluate", []), ("run-experiment", "run-experiment", ["--do-eval", "--halvings", "2"]),
     ("train", "run-experiment", ["--no-do-eval"])],
)  # fmt: skip
def test_the_command_is_the_recorded_one(
    make_config: Configs, tmp_path: Path, endpoint: Endpoint, command: str, more: list[str]
) -> None:
    run = reproducing.recorded(finished(tmp_path, make_config(), endpoint, resources={"batch_halvings": 2}))
    folder = reproducing.reproduction_folder(run, tmp_path / "again")
    argv = reproducing._command(run, folder, tmp_path / "again")
    assert argv[:5] == (sys.executable, "-m", "sft.cli", command, str(folder.config_file))
    assert set(more) <= set(argv)
    assert ("--expect" in argv) == (endpoint != "evaluate")


@pytest.mark.long
def test_it_uses_the_recorded_threads(zero: dict[str, Any], tmp_path: Path) -> None:
    run = finished(tmp_path, zero, resources={"threads": 3})  # OMP_NUM_THREADS is 1 here: see conftest.py
    _, output = run_cli("reproduce", run.path)
    assert "Run again" in output
    (again,) = ResultStore(tmp_path / "results-reproduced").folders()
    assert (result := again.result()) is not None
    assert result.resources["threads"] == 3


def test_it_requests_the_recorded_threads_unless_others_are_requested(
    zero: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(tmp_path, zero, resources={"threads": 3})
    commands: list[list[str]] = []

    def record(recorded: reproducing.Recorded, folder: RunFolder, results: Path) -> None:
        commands.append([*reproducing._command(recorded, folder, results)])

    monkeypatch.setattr(reproducing, "run_again", record)
    for more in ((), ("--threads", "2")):
        with pytest.raises(UserError):  # there is nothing to compare
            run_cli("reproduce", run.path, "--again", *more)
    assert [command[command.index("--threads") + 1] for command in commands] == ["3", "2"]


def test_a_run_without_recorded_threads_uses_the_default(zero: dict[str, Any], tmp_path: Path) -> None:
    run = reproducing.recorded(finished(tmp_path, zero, resources={}))
    folder = reproducing.reproduction_folder(run, tmp_path / "again")
    assert "--threads" not in reproducing._command(run, folder, tmp_path / "again")


def test_a_failed_reproduction_reports_its_log(
    zero: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(tmp_path, zero)
    monkeypatch.setattr(reproducing, "watched", lambda argv: [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(UserError, match=r"ended with exit code 3; its log: .*/results-reproduced/runs/.*/log\.txt"):
        run_cli("reproduce", run.path)
    config = json.loads((tmp_path / "results-reproduced" / "runs" / run.path.name / "config.json").read_text())
    assert (config["name"], config["seed"]) == ("one", 14)


def test_a_reproduction_that_another_process_runs_is_not_moved(zero: dict[str, Any], tmp_path: Path) -> None:
    run = finished(tmp_path, zero)
    lock = ResultStore(tmp_path / "results").lock(run.id, "run")
    assert lock.acquire()
    try:
        with pytest.raises(RunBusyError):
            reproducing.set_aside(run, tmp_path / "results")
    finally:
        lock.release()
    assert run.path.exists()
