"""The process of an experiment: its command and limits, and that its secrets are written to no file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sft.config.experiment import Experiment
from sft.config.sections.schema import ExperimentConfig
from sft.launchers.base import Resources
from sft.results.store import ResultStore
from sft.secrets import VARIABLE
from sft.sweep.planning.options import SweepOptions
from sft.sweep.planning.slots import Slot
from sft.sweep.processes import MOST_HALVINGS, job_of, most_halvings, preloaded, public_config, shared_base
from sft.sweep.single import load_experiment
from sft.threads import POLICY


def experiment(**changes: Any) -> Experiment:
    data: dict[str, Any] = {
        "dataset": {"path": "hub/data", "task_type": "classification", "shots": 4},
        "model": {"name": "hub/model"},
        "lora": {"r": 8},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "training": {},
        "inference": {},
    }
    return Experiment("one", ExperimentConfig.model_validate({**data, **changes}))


def test_a_job_has_its_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in POLICY:  # a command that ran in this process may have set it
        monkeypatch.delenv(name, raising=False)
    trained = experiment()
    folder = ResultStore(tmp_path).folder(trained.id, trained.slug)
    options = SweepOptions(tmp_path / "plugs", do_eval=False, threads=4, limits=Resources(seconds=9, memory=2**30))
    job = job_of(trained, folder, tmp_path, options, Slot(("2", "3")), 1)
    assert job.argv == (
        sys.executable, "-m", "sft.cli", "run-experiment", str(folder.config_file), "--no-do-eval",
        "--results-path", str(tmp_path), "--plugs", str(tmp_path / "plugs"), "--threads", "4", "--halvings", "1",
        "--expect", trained.id,
    )  # fmt: skip
    assert job.variables == {"CUDA_VISIBLE_DEVICES": "2,3", "OMP_NUM_THREADS": "4", **POLICY}
    assert (job.resources.seconds, job.resources.memory) == (9, 2**30)


def test_a_results_folder_that_starts_with_a_dash_is_not_read_as_an_option() -> None:
    trained, root = experiment(), Path("-results")
    folder = ResultStore(root).folder(trained.id, trained.slug)
    argv = job_of(trained, folder, root, SweepOptions(Path("-plugs")), Slot(), 0).argv
    paths = [argv[4], *(argv[argv.index(name) + 1] for name in ("--results-path", "--plugs"))]
    assert paths == [f"./{folder.config_file}", "./-results", "./-plugs"]
    assert [Path(path) for path in paths] == [folder.config_file, root, Path("-plugs")]


def test_a_secret_is_passed_in_the_environment_and_restored_in_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = experiment(model={"name": "hub/model", "model_args": {"token": "hf_canary_0123456789"}})
    folder = ResultStore(tmp_path).folder(trained.id, trained.slug)
    folder.write_config(public_config(trained))
    assert "canary" not in folder.config_file.read_text(encoding="utf-8")
    job = job_of(trained, folder, tmp_path, SweepOptions(tmp_path), Slot(), 0)
    assert "canary" not in " ".join(job.argv)
    monkeypatch.setenv(VARIABLE, job.environment[VARIABLE])
    again = load_experiment(folder.config_file, "run-experiment", None, tmp_path)
    assert again.config.model.model_args == {"token": "hf_canary_0123456789"}
    assert again.id == trained.id
    import os

    assert VARIABLE not in os.environ


def test_another_token_does_not_change_the_id() -> None:
    ids = {experiment(model={"name": "hub/model", "model_args": {"token": token}}).id for token in ("a" * 20, "b" * 20)}
    assert len(ids) == 1


def test_only_runs_that_do_not_change_a_base_share_it() -> None:
    assert shared_base(experiment()) == shared_base(experiment(training={"icl_examples": 1})) is not None
    whole = {"lora": None, "training": {"full_finetuning": True}}
    int8 = {"config_class": "BitsAndBytesConfig", "args": {"load_in_8bit": True}}
    for changes in (whole, {"training": {"method": "mine:own"}}, {"model": {"name": "a", "quantization": int8}}):
        assert shared_base(experiment(**changes)) is None
    zero = {"path": "hub/data", "task_type": "classification", "shots": 0}
    assert shared_base(experiment(dataset=zero, **whole)) is not None


@pytest.mark.parametrize(
    ("arguments", "most"), [({}, 3), ({"per_device_train_batch_size": 1}, 1), ({"per_device_train_batch_size": 999}, 4)]
)
def test_a_batch_is_halved_down_to_one_row(arguments: dict[str, Any], most: int) -> None:
    assert most_halvings(experiment(training={"trainer_args": arguments}).config) == most
    assert MOST_HALVINGS == 4


def test_preloaded_modules_exist() -> None:
    from importlib.util import find_spec

    assert [name for name in preloaded() if find_spec(name) is None] == []


def test_a_config_without_secrets_needs_no_variable(tmp_path: Path) -> None:
    trained = experiment()
    job = job_of(
        trained, ResultStore(tmp_path).folder(trained.id, trained.slug), tmp_path, SweepOptions(tmp_path), Slot(), 0
    )
    assert VARIABLE not in job.environment
    assert json.loads(json.dumps(public_config(trained)))["name"] == "one"
