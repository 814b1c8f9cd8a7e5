"""Errors that a user can fix are one clear line and exit code 2, never a traceback."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from sft.cli.main import main, run_command
from sft.log import RedactingStream

MakeConfig = Callable[..., dict[str, Any]]


def error_of(*arguments: str | Path, cwd: Path) -> str:
    """Return the error line of a command that ends with exit code 2."""
    command = [sys.executable, "-m", "sft.cli", *map(str, arguments)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=300)
    assert answer.returncode == 2, answer.stdout + answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    lines = [line for line in answer.stderr.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1, answer.stderr
    return lines[0]


def error_here(*arguments: str | Path, cwd: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> str:
    """The same in this process, without the seconds that imports take."""
    monkeypatch.chdir(cwd)
    capfd.readouterr()
    assert run_command([str(argument) for argument in arguments]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return str(lines[0])


def write(path: Path, config: Any) -> Path:
    path.write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
    return path


def test_a_misspelt_key(tmp_path: Path, make_config: MakeConfig) -> None:
    config = write(tmp_path / "mine.json", make_config(dataset__shotz=3))
    assert 'dataset.shotz: unknown key; did you mean "shots"?' in error_of("validate", config, cwd=tmp_path)


def test_a_missing_column(tmp_path: Path, make_config: MakeConfig) -> None:
    config = write(tmp_path / "mine.json", make_config(dataset__shots=0, prompting__input_columns=["tweet"]))
    line = error_of("run-experiment", config, cwd=tmp_path)
    assert 'has no column "tweet" (it has: text, label)' in line
    assert "prompting.input_columns" in line


def test_an_absent_file(tmp_path: Path, make_config: MakeConfig) -> None:
    assert "nowhere.json" in error_of("run-experiments", "nowhere.json", cwd=tmp_path)
    config = write(tmp_path / "mine.json", make_config(dataset__path="./data/nowhere.csv"))
    assert "nowhere.csv" in error_of("validate", config, cwd=tmp_path)


def test_a_grid_with_a_syntax_error(tmp_path: Path) -> None:
    grid = write(tmp_path / "grid.jsonnet", "{\n  configs: {\n    a: { dataset: }\n  }\n}\n")
    assert "grid.jsonnet:3:" in error_of("run-experiments", grid, cwd=tmp_path)


def test_a_label_unknown_to_the_config(
    tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = write(tmp_path / "mine.json", make_config(dataset__shots=0, dataset__labels=["bad", "good"]))
    line = error_here("evaluate", config, cwd=tmp_path, monkeypatch=monkeypatch, capfd=capfd)
    assert 'the label "fine" unknown to dataset.labels (bad, good)' in line


def test_a_missing_section(tmp_path: Path, make_config: MakeConfig) -> None:
    config = write(tmp_path / "mine.json", make_config(training=None))
    assert "training" in error_of("train", config, cwd=tmp_path)


def test_a_wrong_option(tmp_path: Path, make_config: MakeConfig) -> None:
    config = write(tmp_path / "mine.json", make_config())
    assert "expected integers" in error_of("run-experiments", config, "--seeds", "a,b", cwd=tmp_path)
    assert "no runs to report" in error_of("report", tmp_path / "empty", cwd=tmp_path)


def test_an_unknown_initialiser_and_method(tmp_path: Path, make_config: MakeConfig) -> None:
    config = write(tmp_path / "mine.json", make_config(lora__init_lora_weights="pcaa"))
    assert 'unknown initialiser "pcaa"; did you mean "pca"?' in error_of("validate", config, cwd=tmp_path)


def test_an_absent_plugin(
    tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = write(tmp_path / "mine.json", make_config(lora__init_lora_weights="no_such_module:start"))
    line = error_here("train", config, cwd=tmp_path, monkeypatch=monkeypatch, capfd=capfd)
    assert 'no module "no_such_module"' in line


def test_a_results_folder_that_is_a_file(tmp_path: Path, make_config: MakeConfig) -> None:
    config = write(tmp_path / "mine.json", make_config(dataset__shots=0, lora=None, training=None))
    write(tmp_path / "taken", "a file")
    for command in ("run-experiments", "run-experiment"):
        assert "taken" in error_of(command, config, "--results-path", "taken", cwd=tmp_path)


@pytest.mark.parametrize("content", ['{"dataset": ', "[1, 2]", '{"seed": NaN}', '{"seed": 1, "seed": 2}'])
def test_invalid_json(tmp_path: Path, content: str) -> None:
    assert "mine.json" in error_of("validate", write(tmp_path / "mine.json", content), cwd=tmp_path)


def test_all_errors_at_once_each_with_its_key(tmp_path: Path, make_config: MakeConfig) -> None:
    config = write(tmp_path / "mine.json", make_config(dataset__shotz=3, inference__batch_size=-3))
    command = [sys.executable, "-m", "sft.cli", "validate", str(config)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    first, *others = answer.stderr.splitlines()
    assert first.endswith("mine.json: 2 problems")
    assert [line.split()[0] for line in others] == ["dataset.shotz", "inference.batch_size"]


class Full(io.StringIO):
    """A full disk."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["schema"], 2),
        (["run-experiments", "--help"], 2),
        (["evaluate", "mine.json"], 0),
        (["run-experiment", "mine.json"], 0),
    ],
)
def test_a_full_disk_is_an_error_only_if_the_output_is_the_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    monkeypatch.setattr("sft.sweep.single.load_experiment", lambda *_: None)
    monkeypatch.setattr("sft.cli.main._run", lambda *_: typer.echo("Run: the folder"))
    monkeypatch.setattr(sys, "stdout", RedactingStream(Full()))
    assert run_command(arguments) == code
    message = "error: the output cannot be written: No space left on device\n" if code else ""
    assert capsys.readouterr().err == message


def test_a_full_disk_ends_a_command_that_writes_no_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sft.cli", "schema"]
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert answer.returncode == 2
    assert answer.stderr == "error: the output cannot be written: No space left on device\n"


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["sft.cli.main._run", "sft.sweep.single.load_experiment", "sft.cli.main.app"])
def test_ctrl_c_is_one_line_at_any_time(
    where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sft.sweep.single.load_experiment", lambda *_: None)
    monkeypatch.setattr(where, interrupted)
    assert run_command(["evaluate", "mine.json"]) == 130
    assert capsys.readouterr().err.strip() == "Interrupted (Ctrl-C)"


@pytest.mark.parametrize("where", ["sft.cli.main.configure_logging", "sft.cli.main.install_handlers"])
def test_ctrl_c_before_the_command_starts(
    where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("configure_logging", "install_handlers"):
        monkeypatch.setattr(f"sft.cli.main.{name}", lambda: None)
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, getattr(sys, stream))  # main replaces them
    monkeypatch.setattr(where, interrupted)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "Interrupted (Ctrl-C)\n"


def test_an_interrupted_sweep_reports_it_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exits(*_: object, **__: object) -> None:
        raise typer.Exit(130)

    monkeypatch.setattr("sft.cli.main._experiment", exits)
    assert run_command(["evaluate", "mine.json"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_streams_that_were_closed_before_the_start(closed: str, tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m sft.cli validate missing.json {closed}"
    answer = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_secrets_are_redacted_in_any_encoding(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    monkeypatch.setenv("HF_TOKEN", "canary-0123456789")
    assert "/<redacted>.json" in error_of("validate", tmp_path / "canary-0123456789.json", cwd=tmp_path)
