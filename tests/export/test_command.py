"""The command `export` on a really trained run, and its errors."""

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
    """Train a run and return its folder."""
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
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_exported_adapter_loads_with_the_printed_line(trained: Path, cwd: Path) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    lines = exported(trained, "--base-model", "org/base")
    folder = cwd / "exports" / trained.name
    assert lines[0] == "vLLM loads it as a LoRA" and lines[1] == f"Exported: exports/{trained.name}"
    expected = f'AutoModelForCausalLM.from_pretrained("org/base"), "exports/{trained.name}")'
    assert lines[2] == f"To load it: PeftModel.from_pretrained({expected}"
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "org/base"
    assert (folder / "chat_template.jinja").exists() and TrainingRecord.in_folder(folder) is not None
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before
    name = json.loads((trained / "config.json").read_text())["model"]["name"]
    ours, theirs = (
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(name), str(adapter))
        for adapter in (folder, trained / "adapter")
    )
    assert torch.equal(logits(ours), logits(theirs))
    assert AutoTokenizer.from_pretrained(folder).chat_template


def test_a_merged_model_needs_no_base_and_has_the_scores_of_the_run(trained: Path, cwd: Path) -> None:
    lines = exported(trained, "--merge")
    assert lines[0].startswith("Merging changes the label scores of 8 test rows by at most ")
    assert lines[-1] == f'To load it: AutoModelForCausalLM.from_pretrained("exports/{trained.name}-merged")'
    folder = cwd / "exports" / f"{trained.name}-merged"
    record, of_adapter = TrainingRecord.in_folder(folder), TrainingRecord.in_folder(trained / "adapter")
    assert record is not None and record == of_adapter
    config = json.loads((trained / "config.json").read_text())
    for section in ("lora", "training", "seed"):
        del config[section]
    config["dataset"]["shots"] = 0
    config["model"] = {"name": str(folder)}
    (cwd / "evaluate.json").write_text(json.dumps(config))
    assert run("evaluate", cwd / "evaluate.json")[0] == 0
    (evaluated,) = ResultStore(cwd / "results").root.glob("runs/*")
    before, after = (ResultStore(run.parent.parent).folder(run.name[-12:], "mine") for run in (trained, evaluated))
    scores = [folder.read_scores()["sum_logprob"] for folder in (before, after)]
    assert np.abs(scores[0] - scores[1]).max() < 1e-4
    result = after.result()
    assert result is not None and result.labelled_examples == 6


def test_in_its_own_folder_only_the_adapters_config_changes(trained: Path, cwd: Path) -> None:
    shutil.copytree(trained / "adapter", cwd / "adapter")
    before = {path.name: path.read_bytes() for path in (cwd / "adapter").iterdir()}
    exported(cwd / "adapter", "--base-model", "org/base", "--output-dir", cwd / "adapter")
    after = {path.name: path.read_bytes() for path in (cwd / "adapter").iterdir()}
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == {"adapter_config.json", "sft.json"}
    again = exported(cwd / "adapter", "--output-dir", cwd / "adapter")
    assert "org/base" in again[-1]


def test_a_whole_model_in_another_dtype(trained: Path, cwd: Path) -> None:
    exported(trained, "--merge", "--output-dir", cwd / "merged")
    lines = exported(cwd / "merged", "--dtype", "bfloat16", "--output-dir", cwd / "half")
    assert lines[0].startswith("In bfloat16 instead of float32, the ends of 3 sentences change by at most ")
    assert json.loads((cwd / "half" / "config.json").read_text())["dtype"] == "bfloat16"
    assert TrainingRecord.in_folder(cwd / "half") == TrainingRecord.in_folder(cwd / "merged")
    assert "RUN is a whole model already" in run("export", cwd / "merged", "--merge")[1]


def test_invalid_requests_give_one_line_errors(trained: Path, cwd: Path) -> None:
    (cwd / "mine").mkdir()
    (cwd / "mine" / "thesis.txt").write_text("mine")
    (cwd / "zero").mkdir()
    zero = json.loads((trained / "config.json").read_text()) | {"lora": None, "training": None}
    zero["dataset"]["shots"] = 0
    (cwd / "zero" / "config.json").write_text(json.dumps(zero))
    for arguments, message in (
        ([cwd / "none"], "none not found"),
        ([cwd / "mine"], "RUN: expected a folder of a run, an adapter"),
        ([cwd / "zero"], "trained nothing (dataset.shots is 0)"),
        ([trained, "--output-dir", cwd / "mine"], "contains other files (thesis.txt)"),
        ([trained, "--output-dir", cwd / "mine" / "thesis.txt"], "--output-dir: expected a folder, got the file"),
        ([trained, "--merge", "--output-dir", trained / "adapter"], "contains an adapter (adapter_config.json)"),
        ([trained, "--dtype", "float16"], "--dtype applies to whole models"),
        ([trained, "--merge", "--from-state-dict", cwd / "x.pt"], "--from-state-dict creates an adapter"),
        ([trained, "--merge", "--base-model", cwd / "mine"], "has no config.json"),
    ):
        code, output = run("export", *arguments)
        assert code != 0, output
        assert message in output and "\n" not in output.strip(), output
    assert [path.name for path in (cwd / "mine").iterdir()] == ["thesis.txt"]
    assert not (cwd / "exports").exists()


class FakeHub:
    """Record the calls to the Hub."""

    calls: list[tuple[str, Any]] = []  # noqa: RUF012 - a single Hub
    error: Exception | None = None

    def __init__(self, token: str) -> None:
        self.calls.append(("token", token))

    def create_repo(self, name: str, **options: Any) -> None:
        if self.error is not None:
            raise self.error
        self.calls.append((name, options))

    def upload_folder(self, folder_path: Path, repo_id: str, **options: Any) -> None:
        self.calls.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))


def test_the_written_files_are_uploaded_to_the_hub(trained: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert "set HF_TOKEN in the environment" in run("export", trained, "--push-to-hub", "me/mine")[1]
    assert FakeHub.calls == [] and not (cwd / "exports").exists()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    lines = exported(trained, "--push-to-hub", "me/mine")
    assert "Uploaded: https://huggingface.co/me/mine" in lines
    (_, token), (_, options), (name, files) = FakeHub.calls
    assert (token, name, options["private"]) == ("hf_secret", "me/mine", True)
    assert {"adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "sft.json"} <= set(files)
    FakeHub.error = OfflineModeIsEnabled("offline mode\nis enabled")
    code, output = run("export", trained, "--push-to-hub", "me/mine")
    assert code != 0 and output.startswith('--push-to-hub: "me/mine" was not written: offline mode is enabled')
    assert f"the files are in exports/{trained.name}" in output and "hf_secret" not in output


def test_an_adapter_of_plain_peft(trained: Path, cwd: Path, make_tokenizer: Callable[..., Any]) -> None:
    """It has no record, no tokenizer, and weights in the older file format."""
    from safetensors.torch import load_file

    (cwd / "plain").mkdir()
    shutil.copy(trained / "adapter" / "adapter_config.json", cwd / "plain")
    state = load_file(trained / "adapter" / "adapter_model.safetensors")
    torch.save(state, cwd / "plain" / "adapter_model.bin")
    exported(cwd / "plain", "--output-dir", cwd / "out")
    ours = load_file(cwd / "out" / "adapter_model.safetensors")
    assert ours.keys() == state.keys() and all(torch.equal(ours[name], state[name]) for name in state)
    assert (cwd / "out" / "tokenizer.json").exists() and TrainingRecord.in_folder(cwd / "out") is None
    assert (
        "contains other files (adapter_config.json)" in run("export", cwd / "plain", "--output-dir", cwd / "plain")[1]
    )


def test_adapters_of_two_runs_have_different_folders(trained: Path, cwd: Path) -> None:
    exported(trained / "adapter")
    assert [path.name for path in (cwd / "exports").iterdir()] == [trained.name]
