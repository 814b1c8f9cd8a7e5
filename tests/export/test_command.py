"""The command as a person meets it: on a run that was really trained, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import OfflineModeIsEnabled
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from sft.cli.main import app
from sft.config.experiment import Experiment
from sft.config.reading.load import parse_config
from sft.results.store import ResultStore
from sft.steps.provenance import TrainingRecord

IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output if result.exception is None else f"{result.exception}"


def exported(*arguments: str | Path) -> list[str]:
    result = CliRunner().invoke(app, ["export", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model.eval()(input_ids=IDS).logits


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, data_folder: Path) -> Path:
    """A run folder."""
    from sft import pipeline

    data = {
        "dataset": {"path": str(data_folder), "task_type": "classification", "shots": 2},
        "model": {"name": str(model_folder)},
        "lora": {"r": 2, "target_modules": "all-linear"},
        "prompting": {"instruction": "How is it?", "input_columns": ["text"], "output_column": "label"},
        "training": {"trainer_args": {"max_steps": 2, "learning_rate": 0.02}},
        "inference": {"max_seq_length": 256},
    }
    experiment = Experiment("mine", parse_config(data, "mine.json", Path()))
    folder = ResultStore(tmp_path_factory.mktemp("results")).folder(experiment.id, experiment.slug)
    folder.path.mkdir(parents=True)
    pipeline.run(experiment, folder)
    return folder.path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_adapter_goes_where_it_can_be_loaded_by_the_line_that_is_printed(trained: Path, here: Path) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    lines = exported(trained, "--base-model", "org/base")
    folder = here / "exports" / trained.name
    assert lines[0] == "vLLM loads it as a LoRA" and lines[1] == f"Exported: exports/{trained.name}"
    expected = f'AutoModelForCausalLM.from_pretrained("org/base"), "exports/{trained.name}")'
    assert lines[2] == f"To load it: PeftModel.from_pretrained({expected}"
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "org/base"
    assert (folder / "chat_template.jinja").exists() and TrainingRecord.in_folder(folder) is not None
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before
    name = json.loads((trained / "config.json").read_text())["model"]["name"]
    ours, theirs = (
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(name), str(place))
        for place in (folder, trained / "adapter")
    )
    assert torch.equal(logits(ours), logits(theirs))
    assert AutoTokenizer.from_pretrained(folder).chat_template


def test_merged_it_needs_no_base_and_scores_as_the_run_did(trained: Path, here: Path) -> None:
    lines = exported(trained, "--merge")
    assert lines[0].startswith("Merging changes the label scores of 8 test rows by at most ")
    assert lines[-1] == f'To load it: AutoModelForCausalLM.from_pretrained("exports/{trained.name}-merged")'
    folder = here / "exports" / f"{trained.name}-merged"
    record, of_adapter = TrainingRecord.in_folder(folder), TrainingRecord.in_folder(trained / "adapter")
    assert record is not None and record == of_adapter
    config = json.loads((trained / "config.json").read_text())
    for section in ("lora", "training", "seed"):
        del config[section]
    config["dataset"]["shots"] = 0
    config["model"] = {"name": str(folder)}
    (here / "judge.json").write_text(json.dumps(config))
    assert run("evaluate", here / "judge.json")[0] == 0
    (judged,) = ResultStore(here / "results").root.glob("runs/*")
    before, after = (ResultStore(place.parent.parent).folder(place.name[-12:], "mine") for place in (trained, judged))
    scores = [one.read_scores()["sum_logprob"] for one in (before, after)]
    assert np.abs(scores[0] - scores[1]).max() < 1e-4
    result = after.result()
    assert result is not None and result.labelled_examples == 6


def test_in_its_own_place_only_the_adapters_config_changes(trained: Path, here: Path) -> None:
    shutil.copytree(trained / "adapter", here / "adapter")
    before = {path.name: path.read_bytes() for path in (here / "adapter").iterdir()}
    exported(here / "adapter", "--base-model", "org/base", "--output-dir", here / "adapter")
    after = {path.name: path.read_bytes() for path in (here / "adapter").iterdir()}
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == {"adapter_config.json", "sft.json"}
    again = exported(here / "adapter", "--output-dir", here / "adapter")
    assert "org/base" in again[-1]


def test_a_whole_model_in_another_dtype(trained: Path, here: Path) -> None:
    exported(trained, "--merge", "--output-dir", here / "merged")
    lines = exported(here / "merged", "--dtype", "bfloat16", "--output-dir", here / "half")
    assert lines[0].startswith("In bfloat16 instead of float32, the ends of 3 sentences change by at most ")
    assert json.loads((here / "half" / "config.json").read_text())["dtype"] == "bfloat16"
    assert TrainingRecord.in_folder(here / "half") == TrainingRecord.in_folder(here / "merged")
    assert "RUN holds a whole model already" in run("export", here / "merged", "--merge")[1]


def test_what_cannot_be_is_one_line(trained: Path, here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "thesis.txt").write_text("mine")
    (here / "zero").mkdir()
    zero = json.loads((trained / "config.json").read_text()) | {"lora": None, "training": None}
    zero["dataset"]["shots"] = 0
    (here / "zero" / "config.json").write_text(json.dumps(zero))
    for arguments, said in (
        ([here / "none"], "RUN: there is no folder"),
        ([here / "mine"], "is neither a run folder nor one with an adapter"),
        ([here / "zero"], "trained nothing (dataset.shots is 0)"),
        ([trained, "--output-dir", here / "mine"], "holds other things (thesis.txt)"),
        ([trained, "--output-dir", here / "mine" / "thesis.txt"], "is a file"),
        ([trained, "--merge", "--output-dir", trained / "adapter"], "contains an adapter (adapter_config.json)"),
        ([trained, "--dtype", "float16"], "--dtype is for whole models"),
        ([trained, "--merge", "--from-state-dict", here / "x.pt"], "--from-state-dict gives an adapter"),
        ([trained, "--merge", "--base-model", here / "mine"], "has no config.json"),
    ):
        code, output = run("export", *arguments)
        assert code != 0, output
        assert said in output and "\n" not in output.strip(), output
    assert [path.name for path in (here / "mine").iterdir()] == ["thesis.txt"]
    assert not (here / "exports").exists()


class FakeHub:
    """What is told to the hub."""

    calls: list[tuple[str, Any]] = []  # noqa: RUF012 - one hub
    error: Exception | None = None

    def __init__(self, token: str) -> None:
        self.calls.append(("token", token))

    def create_repo(self, name: str, **options: Any) -> None:
        if self.error is not None:
            raise self.error
        self.calls.append((name, options))

    def upload_folder(self, folder_path: Path, repo_id: str, **options: Any) -> None:
        self.calls.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))


def test_the_hub_gets_what_was_written(trained: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert "set HF_TOKEN in the environment" in run("export", trained, "--push-to-hub", "me/mine")[1]
    assert FakeHub.calls == [] and not (here / "exports").exists()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    lines = exported(trained, "--push-to-hub", "me/mine")
    assert "Uploaded: https://huggingface.co/me/mine" in lines
    (_, token), (_, options), (name, files) = FakeHub.calls
    assert (token, name, options["private"]) == ("hf_secret", "me/mine", True)
    assert {"adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "sft.json"} <= set(files)
    FakeHub.error = OfflineModeIsEnabled("offline mode\nis enabled")
    code, output = run("export", trained, "--push-to-hub", "me/mine")
    assert code != 0 and output.startswith('--push-to-hub: "me/mine" was not written: offline mode is enabled')
    assert f"the files lie in exports/{trained.name}" in output and "hf_secret" not in output


def test_an_adapter_from_elsewhere(trained: Path, here: Path, make_tokenizer: Callable[..., Any]) -> None:
    """Plain PEFT's files: no record, no tokenizer, weights in an older file."""
    from safetensors.torch import load_file

    (here / "plain").mkdir()
    shutil.copy(trained / "adapter" / "adapter_config.json", here / "plain")
    state = load_file(trained / "adapter" / "adapter_model.safetensors")
    torch.save(state, here / "plain" / "adapter_model.bin")
    exported(here / "plain", "--output-dir", here / "out")
    ours = load_file(here / "out" / "adapter_model.safetensors")
    assert ours.keys() == state.keys() and all(torch.equal(ours[name], state[name]) for name in state)
    assert (here / "out" / "tokenizer.json").exists() and TrainingRecord.in_folder(here / "out") is None
    assert (
        "holds other things (adapter_config.json)" in run("export", here / "plain", "--output-dir", here / "plain")[1]
    )


def test_adapters_of_two_runs_do_not_meet(trained: Path, here: Path) -> None:
    exported(trained / "adapter")
    assert [path.name for path in (here / "exports").iterdir()] == [trained.name]
