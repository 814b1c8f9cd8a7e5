"""The process of an experiment: its command, what it may use, and that its secrets stand in no file."""

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
from sft.sweep.options import SweepOptions
from sft.sweep.processes import MOST_HALVINGS, job_of, most_halvings, preloaded, public_config, shared_base
from sft.sweep.single import load_experiment
from sft.sweep.slots import Slot
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


def test_a_job_names_what_it_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in POLICY:  # a command that ran in this process may have set it
        monkeypatch.delenv(name, raising=False)
    one = experiment()
    folder = ResultStore(tmp_path).folder(one.id, one.slug)
    options = SweepOptions(tmp_path / "plugs", do_eval=False, threads=4, limits=Resources(seconds=9, memory=2**30))
    job = job_of(one, folder, tmp_path, options, Slot(("2", "3")), 1)
    assert job.argv == (
        sys.executable, "-m", "sft.cli", "run-experiment", str(folder.config_file), "--no-do-eval",
        "--results-path", str(tmp_path), "--plugs", str(tmp_path / "plugs"), "--threads", "4", "--halvings", "1",
        "--expect", one.id,
    )  # fmt: skip
    assert job.variables == {"CUDA_VISIBLE_DEVICES": "2,3", "OMP_NUM_THREADS": "4", **POLICY}
    assert (job.resources.seconds, job.resources.memory) == (9, 2**30)


def test_a_results_folder_that_starts_with_a_dash_is_no_option() -> None:
    one, root = experiment(), Path("-results")
    folder = ResultStore(root).folder(one.id, one.slug)
    argv = job_of(one, folder, root, SweepOptions(Path("-plugs")), Slot(), 0).argv
    paths = [argv[4], *(argv[argv.index(name) + 1] for name in ("--results-path", "--plugs"))]
    assert paths == [f"./{folder.config_file}", "./-results", "./-plugs"]
    assert [Path(path) for path in paths] == [folder.config_file, root, Path("-plugs")]


def test_a_secret_goes_by_the_environment_and_comes_back_in_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = experiment(model={"name": "hub/model", "model_args": {"token": "hf_canary_0123456789"}})
    folder = ResultStore(tmp_path).folder(one.id, one.slug)
    folder.write_config(public_config(one))
    assert "canary" not in folder.config_file.read_text(encoding="utf-8")
    job = job_of(one, folder, tmp_path, SweepOptions(tmp_path), Slot(), 0)
    assert "canary" not in " ".join(job.argv)
    monkeypatch.setenv(VARIABLE, job.environment[VARIABLE])
    again = load_experiment(folder.config_file, "run-experiment", None, tmp_path)
    assert again.config.model.model_args == {"token": "hf_canary_0123456789"}
    assert again.id == one.id
    import os

    assert VARIABLE not in os.environ


def test_another_token_is_the_same_work() -> None:
    ids = {experiment(model={"name": "hub/model", "model_args": {"token": token}}).id for token in ("a" * 20, "b" * 20)}
    assert len(ids) == 1


def test_only_runs_that_leave_a_base_as_it_was_share_it() -> None:
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
def test_a_batch_is_halved_while_it_can_be(arguments: dict[str, Any], most: int) -> None:
    assert most_halvings(experiment(training={"trainer_args": arguments}).config) == most
    assert MOST_HALVINGS == 4


def test_what_is_preloaded_exists() -> None:
    from importlib.util import find_spec

    assert [name for name in preloaded() if find_spec(name) is None] == []


def test_a_config_without_secrets_needs_no_variable(tmp_path: Path) -> None:
    one = experiment()
    job = job_of(one, ResultStore(tmp_path).folder(one.id, one.slug), tmp_path, SweepOptions(tmp_path), Slot(), 0)
    assert VARIABLE not in job.environment
    assert json.loads(json.dumps(public_config(one)))["name"] == "one"
