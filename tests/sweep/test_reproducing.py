"""A finished run again: what is run, where, what stays untouched, what is said first, and what cannot be run again."""

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
from sft.sweep.jobs import config_of

Configs = Callable[..., dict[str, Any]]


def run_cli(*arguments: object) -> tuple[int, str]:
    """The exit code, and all that was said; errors as they were raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    return result.exit_code, result.output


def finished(root: Path, config: Mapping[str, Any], endpoint: Endpoint = "run-experiment", **changes: Any) -> RunFolder:
    """A run folder made by hand, as a run leaves it."""
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
    """Instead of running, write the recorded result with these metrics; how often that was is in `times`."""
    told: dict[str, Any] = {"results": {"accuracy": 0.5}, "times": 0}

    def stand_in(run: reproducing.Recorded, folder: RunFolder, results: Path) -> None:
        told["times"] += 1
        shutil.copytree(run.folder.path, folder.path, dirs_exist_ok=True)
        changes = {"id": run.experiment.id, "results": told["results"], "data": told.get("data", run.result.data)}
        folder.write_result(run.result.model_copy(update=changes))

    monkeypatch.setattr(reproducing, "run_again", stand_in)
    return told


def files_of(folder: RunFolder) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.path.rglob("*")) if file.is_file()}


@pytest.mark.slow
def test_a_training_run_again_gives_the_same_to_the_last_score(
    make_config: Configs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = {"max_steps": 2, "per_device_train_batch_size": 2, "output_dir": str(tmp_path / "adapters")}
    config = make_config(training={"trainer_args": arguments}, name="one")
    (tmp_path / "one.json").write_text(json.dumps(config), encoding="utf-8")
    results = tmp_path / "results"
    code, said = run_cli("run-experiment", tmp_path / "one.json", "--results-path", results, "--random-seed", 14)
    assert code == 0, said
    (folder,) = ResultStore(results).folders()
    before, adapter = files_of(folder), files_of(RunFolder(tmp_path / "adapters"))
    assert adapter
    capfd.readouterr()
    code, said = run_cli("reproduce", results / "one")
    assert code == 0, said
    assert "all 9 predictions are the same, and all label scores too\nReproduced exactly." in said
    assert "training.loss" in said
    assert "score" in capfd.readouterr().err  # its progress
    assert (files_of(folder), files_of(RunFolder(tmp_path / "adapters"))) == (before, adapter)
    (again,) = ResultStore(tmp_path / "results-reproduced").folders()
    assert (again.adapter / "adapter_model.safetensors").exists()
    result, first = again.result(), folder.result()
    assert result is not None
    assert first is not None
    assert (result.id, result.seed, result.training["loss_history"]) == (first.id, 14, first.training["loss_history"])


def test_what_agrees_is_exit_code_0_and_what_does_not_is_1(
    zero: dict[str, Any], tmp_path: Path, redone: dict[str, Any]
) -> None:
    run = finished(tmp_path, zero)
    code, said = run_cli("reproduce", run.path)
    assert (code, redone["times"]) == (0, 1)
    assert f"Run again: {tmp_path}/results-reproduced/runs/{run.path.name}" in said
    code, said = run_cli("reproduce", run.path)
    assert (code, redone["times"]) == (0, 1)
    assert "(--again does it once more)" in said
    redone["results"] = {"accuracy": 0.25}
    code, said = run_cli("reproduce", run.path, "--again")
    assert (code, redone["times"]) == (1, 2)
    assert "Not reproduced, metrics differ: accuracy." in said
    earlier = tmp_path / "results-reproduced" / reproducing.EARLIER / f"{run.path.name}.1"
    assert json.loads((earlier / "result.json").read_text())["results"] == {"accuracy": 0.5}  # nothing is lost


def test_it_may_run_elsewhere_but_not_where_the_run_itself_lies(
    zero: dict[str, Any], tmp_path: Path, redone: dict[str, Any]
) -> None:
    run = finished(tmp_path, zero)
    with pytest.raises(UserError, match="the run itself lies there; choose another folder"):
        run_cli("reproduce", run.path, "--results-path", tmp_path / "x" / ".." / "results")
    assert redone["times"] == 0
    run_cli("reproduce", run.path, "--results-path", tmp_path / "there")
    assert (tmp_path / "there" / "runs" / run.path.name / "result.json").exists()


def test_data_that_has_changed_is_told_first(zero: dict[str, Any], tmp_path: Path, redone: dict[str, Any]) -> None:
    shutil.copytree(zero["dataset"]["path"], tmp_path / "data")
    zero["dataset"]["path"] = str(tmp_path / "data")
    run = finished(tmp_path, zero, data={"sha256": "0" * 64})
    code, said = run_cli("reproduce", run.path)
    assert (code, "warning" in said) == (0, False)  # the id is of the content: nothing has changed
    with (tmp_path / "data" / "test.csv").open("a", encoding="utf-8") as file:
        file.write("more,good\n")
    redone["data"] = {"sha256": "1" * 64}
    code, said = run_cli("reproduce", run.path)
    assert said.startswith(f"warning: the data has changed since: {tmp_path / 'data'}\n")
    assert code == 1
    assert "Not reproduced: the metrics agree, but the data has changed (" in said.splitlines()[-1]
    assert redone["times"] == 2  # other work: not what was reproduced before


def test_a_model_that_has_changed_is_told_first(zero: dict[str, Any], tmp_path: Path, redone: dict[str, Any]) -> None:
    shutil.copytree(zero["model"]["name"], tmp_path / "model")
    zero["model"]["name"] = str(tmp_path / "model")
    run = finished(tmp_path, zero)
    (tmp_path / "model" / "more.txt").write_text("x")
    _, said = run_cli("reproduce", run.path)
    assert said.startswith(f"warning: it is not the same work any more (id {run.id}, now ")
    assert "a model, an adapter or a plug" in said.splitlines()[0]


def test_a_date_that_was_not_recorded_is_told_first(
    zero: dict[str, Any], tmp_path: Path, redone: dict[str, Any]
) -> None:
    shutil.copytree(zero["model"]["name"], tmp_path / "model")
    zero["model"]["name"] = str(tmp_path / "model")
    template = tmp_path / "model" / "chat_template.jinja"
    template.write_text("{{ strftime_now('%Y') }}" + template.read_text(encoding="utf-8"), encoding="utf-8")
    run = finished(tmp_path, zero)
    _, said = run_cli("reproduce", run.path)
    assert said.startswith("warning: the run records no prompting.date: ")
    assert "it now shows 2024-07-26" in said
    dated = {**zero, "prompting": {**zero["prompting"], "date": "2030-01-02"}}
    run = finished(tmp_path / "dated", dated)
    code, said = run_cli("reproduce", run.path)
    assert (code, "warning" in said) == (0, False)
    assert redone["times"] == 2


def test_a_secret_that_was_taken_out_is_missed_by_name(zero: dict[str, Any], tmp_path: Path) -> None:
    run = finished(tmp_path, {**zero, "model": {**zero["model"], "model_args": {"token": "hf_0123456789abcdef"}}})
    with pytest.raises(UserError, match=r"a secret was taken out of model\.model_args\.token; put it back"):
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
def test_code_that_a_record_names_runs_only_with_trust(
    section: str, changes: dict[str, Any], named: str, zero: dict[str, Any], tmp_path: Path, redone: dict[str, Any]
) -> None:
    (tmp_path / "mine.yaml").write_text("task: mine\n")
    run = finished(tmp_path, {**zero, section: {**zero.get(section, {}), **changes}})
    with pytest.raises(UserError, match=f"would run code that its record names: .*{named}.*give --trust"):
        run_cli("reproduce", run.path)
    assert redone["times"] == 0
    assert not (tmp_path / "results-reproduced").exists()
    run_cli("reproduce", run.path, "--trust")
    assert redone["times"] == 1


def test_files_that_are_gone_are_named(zero: dict[str, Any], tmp_path: Path) -> None:
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
    with pytest.raises(UserError, match="cannot be used: it does not begin with a checksum"):
        run_cli("reproduce", run.path)


def test_a_results_folder_may_have_moved_with_the_adapter_in_it(
    zero: dict[str, Any], tmp_path: Path, redone: dict[str, Any]
) -> None:
    adapter = tmp_path / "results" / "runs" / "trained-0" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    zero["model"]["adapter"] = str(adapter)
    run = finished(tmp_path, zero)
    moved = tmp_path / "elsewhere"
    (tmp_path / "results").rename(moved)
    code, said = run_cli("reproduce", moved / "one")
    assert (code, redone["times"]) == (0, 1)
    now = moved / "runs" / "trained-0" / "adapter"
    assert said.startswith(f"warning: model.adapter was {adapter}, and is read from {now}\n")
    assert (tmp_path / "elsewhere-reproduced" / "runs" / run.path.name).is_dir()


def test_nothing_is_written_or_told_where_the_original_was(make_config: Configs, tmp_path: Path) -> None:
    arguments = {
        "output_dir": "adapters",
        "hub_model_id": "me/x",
        "report_to": "none",
        "max_steps": 2,
    }
    run = finished(tmp_path, make_config(training__trainer_args=arguments))
    found = reproducing.recorded(run)
    assert found.config["training"]["trainer_args"] == {"max_steps": 2}
    assert (found.experiment.id, found.notes) == (run.id, ())


@pytest.mark.parametrize(
    ("endpoint", "command", "more"),
    [("evaluate", "evaluate", []), ("run-experiment", "run-experiment", ["--do-eval", "--halvings", "2"]),
     ("train", "run-experiment", ["--no-do-eval"])],
)  # fmt: skip
def test_the_command_is_the_recorded_one(
    make_config: Configs, tmp_path: Path, endpoint: Endpoint, command: str, more: list[str]
) -> None:
    run = reproducing.recorded(finished(tmp_path, make_config(), endpoint, resources={"batch_halvings": 2}))
    folder = reproducing.place_of(run, tmp_path / "again")
    found = reproducing._command(run, folder, tmp_path / "again")
    assert found[:5] == (sys.executable, "-m", "sft.cli", command, str(folder.config_file))
    assert set(more) <= set(found)
    assert ("--expect" in found) == (endpoint != "evaluate")


@pytest.mark.long
def test_it_computes_with_the_recorded_threads(zero: dict[str, Any], tmp_path: Path) -> None:
    run = finished(tmp_path, zero, resources={"threads": 3})  # OMP_NUM_THREADS is 1 here: see conftest.py
    _, said = run_cli("reproduce", run.path)
    assert "Run again" in said
    (again,) = ResultStore(tmp_path / "results-reproduced").folders()
    assert (result := again.result()) is not None
    assert result.resources["threads"] == 3


def test_it_asks_for_the_recorded_threads_unless_others_are_asked_for(
    zero: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(tmp_path, zero, resources={"threads": 3})
    commands: list[list[str]] = []

    def noted(recorded: reproducing.Recorded, folder: RunFolder, results: Path) -> None:
        commands.append([*reproducing._command(recorded, folder, results)])

    monkeypatch.setattr(reproducing, "run_again", noted)
    for more in ((), ("--threads", "2")):
        with pytest.raises(UserError):  # there is nothing to compare
            run_cli("reproduce", run.path, "--again", *more)
    assert [command[command.index("--threads") + 1] for command in commands] == ["3", "2"]


def test_a_run_without_recorded_threads_has_the_default(zero: dict[str, Any], tmp_path: Path) -> None:
    run = reproducing.recorded(finished(tmp_path, zero, resources={}))
    folder = reproducing.place_of(run, tmp_path / "again")
    assert "--threads" not in reproducing._command(run, folder, tmp_path / "again")


def test_a_run_that_fails_again_names_its_log(
    zero: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(tmp_path, zero)
    monkeypatch.setattr(reproducing, "watched", lambda argv: [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(UserError, match=r"ended with exit code 3; its log: .*/results-reproduced/runs/.*/log\.txt"):
        run_cli("reproduce", run.path)
    config = json.loads((tmp_path / "results-reproduced" / "runs" / run.path.name / "config.json").read_text())
    assert (config["name"], config["seed"]) == ("one", 14)


def test_a_reproduction_that_another_process_is_at_stays_where_it_is(zero: dict[str, Any], tmp_path: Path) -> None:
    run = finished(tmp_path, zero)
    lock = ResultStore(tmp_path / "results").lock(run.id, "run")
    assert lock.acquire()
    try:
        with pytest.raises(RunBusyError):
            reproducing.set_aside(run, tmp_path / "results")
    finally:
        lock.release()
    assert run.path.exists()
