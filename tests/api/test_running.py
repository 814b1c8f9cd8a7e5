"""`sft.run` and `sft.run_grid`: the same runs as the commands', and errors as exceptions."""

from __future__ import annotations

import inspect
import io
import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import sft
from sft.api import running
from sft.api.process import Ended
from sft.errors import ConfigError, SftError, UserError
from sft.results.locks import RunBusyError
from sft.results.schema import RunState
from sft.results.store import ResultStore
from sft.sweep.planning.check import load_plan

MakeConfig = Callable[..., dict[str, Any]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Command:
    """A fake process: it records its arguments, writes states, and ends as configured."""

    def __init__(self, ended: Ended, state: RunState | None = None) -> None:
        self.ended, self.state = ended, state
        self.arguments: list[str] = []
        self.config: Any = None

    def __call__(self, arguments: Sequence[str], quiet: bool = False) -> Ended:
        self.arguments = list(arguments)
        self.config = json.loads(Path(self.arguments[-1]).read_text())
        if self.state is not None:
            run_id = next(one for one in arguments if one.startswith("--expect=")).partition("=")[2]
            folder = ResultStore(Path("results")).folder(run_id, "experiment")
            folder.write_config({**self.config, "name": "experiment"})
            folder.write_state(self.state)
            folder.log_file.write_text("its log\n")
        return self.ended


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Command]:
    def build(code: int, message: str = "", bug: bool = False, state: RunState | None = None) -> Command:
        made = Command(Ended(code, message, bug), state)
        monkeypatch.setattr(running, "run_command", made)
        return made

    return build


@pytest.mark.long
def test_a_grid_runs_in_a_thread_and_where_standard_output_is_no_file(
    here: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    zero = make_config(dataset__shots=0, lora=None, training=None)
    grid = {"configs": {"good": zero, "bad": {**zero, "dataset": {**zero["dataset"], "max_n_test": 3}}}}
    grid["configs"]["bad"]["prompting"] = {**zero["prompting"], "input_columns": ["nowhere"]}
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    out, found = io.StringIO(), []
    monkeypatch.setattr(sys, "stdout", out)
    thread = threading.Thread(target=lambda: found.append(sft.run_grid(grid, here / "results")))
    thread.start()
    thread.join(300)
    monkeypatch.undo()
    (results,) = found  # nothing, where the thread ended with an exception
    assert dict(zip(results.runs["name"], results.runs["status"], strict=True)) == {"good": "done", "bad": "failed"}
    assert "2 configurations" in out.getvalue()
    assert (here / "results" / "report.html").exists()
    with pytest.raises(sft.RunFailedError, match=r"^bad has no result: failed \(.*nowhere.*\); its log: .*log\.txt$"):
        _ = results.run("bad").predictions
    assert [signal.getsignal(number) for number in signal.valid_signals()] == before
    # the same runs, whoever asks for them
    good = results.run("good")
    assert sft.run(grid["configs"]["good"], here / "results").id == good.id
    (here / "good.json").write_text(json.dumps(grid["configs"]["good"]))
    command = [sys.executable, "-m", "sft.cli", "run-experiment", "good.json"]
    again = subprocess.run(command, capture_output=True, text=True, check=True, cwd=here)
    assert again.stdout == f"Already done: {good.folder.relative_to(here)}\n"
    with pytest.raises(UserError, match="nowhere"):
        sft.run(grid["configs"]["bad"], here / "results", quiet=True)


def test_options_are_typed_as_the_command_has_them(
    here: Path, make_config: MakeConfig, command: Callable[..., Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    called = command(0)
    monkeypatch.setattr(running, "load_results", lambda root: root)
    grid = {"configs": {"a": make_config(), "-b": make_config(dataset__shots=3)}}
    folder = sft.run_grid(
        grid,
        "-mine",
        seeds=[13, 14],
        jobs=2,
        only="a*",
        retry_failed=True,
        oom_retry=False,
        do_eval=False,
        timeout=5,
        launcher_arg=["isolation=spawn", "isolation=spawn"],
    )
    assert folder == Path("-mine")
    first, *flags, end, path = called.arguments
    assert (first, end) == ("run-experiments", "--")
    assert path.endswith("experiment.json")
    assert set(flags) == {
        "--seeds=13,14", "--no-do-eval", "--jobs=2", "--gpus-per-experiment=1", "--jobs-per-gpu=1", "--only=a*",
        "--retry-failed", "--timeout=5", "--no-oom-retry", "--launcher=local", "--launcher-arg=isolation=spawn",
        "--max-experiments=10000", "--results-path=-mine",
    }  # fmt: skip
    assert called.config == grid


def test_every_option_is_one_of_the_command() -> None:
    from typer.main import get_command

    from sft.cli.main import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    for function, name in ((sft.run, "run-experiment"), (sft.run_grid, "run-experiments")):
        known = {parameter.name: parameter.default for parameter in commands[name].params}
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name not in ("config", "results", "quiet"):
                assert known[parameter.name] == parameter.default, parameter.name


def test_config_errors_come_before_any_process(
    here: Path, make_config: MakeConfig, command: Callable[..., Command], caplog: pytest.LogCaptureFixture
) -> None:
    called = command(0)
    with pytest.raises(ConfigError) as caught:
        sft.run({**make_config(), "modle": 1, "training": {"method": "nothing"}})
    assert {problem.where for problem in caught.value.problems} == {"modle", "training.method"}
    assert caught.value.source == "config"
    with pytest.raises(ConfigError, match=r"mine\.json: no such file"):
        sft.run_grid("mine.json")
    with pytest.raises(UserError, match=r"^config: expected one experiment, got 2; use sft\.run_grid$"):
        sft.run({"configs": {"a": make_config(), "b": make_config(dataset__shots=3)}})
    with pytest.raises(ConfigError, match="cannot be combined with a seed from the command"):
        sft.run({**make_config(), "seed": 14}, random_seed=15)
    assert called.arguments == []
    assert not (here / "results").exists()


def test_notices_are_left_to_the_command(
    here: Path, make_config: MakeConfig, command: Callable[..., Command], caplog: pytest.LogCaptureFixture
) -> None:
    command(2, "no")
    logger = logging.getLogger("sft")
    before = logger.level
    old = make_config(inference={"max_seq_length": 256, "calibration_args": {"calibration_fn": "contextual_alvaro"}})
    with pytest.raises(UserError, match=r"^no$"):
        sft.run(old)
    assert caplog.text == ""
    assert logger.level == before
    (here / "old.json").write_text(json.dumps(old))
    load_plan(here / "old.json", None, "run-experiment")
    assert "contextual_alvaro" in caplog.text  # so that there was something to be silent about


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (2, UserError, "what the command says"),
        (75, RunBusyError, "what the command says"),
        (143, SftError, r"run-experiment was ended \(SIGTERM\); the same call continues where it stopped"),
        (-9, SftError, r"run-experiment was ended \(SIGKILL\)"),
        (130, SftError, r"run-experiment was ended \(SIGINT\)"),
        (3, SftError, r"run-experiment was ended \(exit code 3\)"),
    ],
)
def test_how_a_command_ends_is_raised(
    here: Path, make_config: MakeConfig, command: Callable[..., Command], code: int, kind: type, text: str
) -> None:
    command(code, "what the command says")
    with pytest.raises(SftError, match=text) as caught:
        sft.run(make_config())
    assert type(caught.value) is kind


def test_a_bug_is_no_error_of_the_user(here: Path, make_config: MakeConfig, command: Callable[..., Command]) -> None:
    command(1, bug=True, state=RunState(state="failed", error="ValueError: boom", exit_code=1))
    with pytest.raises(SftError, match="this is a bug in sft: please report it with the traceback above") as caught:
        sft.run(make_config())
    assert not isinstance(caught.value, UserError)
    command(1, bug=True)
    with pytest.raises(SftError, match="run-experiments: this is a bug"):
        sft.run_grid(make_config())


def test_the_error_of_a_failed_run_names_its_log(
    here: Path, make_config: MakeConfig, command: Callable[..., Command]
) -> None:
    command(1, "memory ran out", state=RunState(state="oom", error="CUDA out of memory", exit_code=1))
    text = r"^experiment has no result: out of memory \(CUDA out of memory\); its log: results/runs/.*/log\.txt$"
    with pytest.raises(sft.RunFailedError, match=text):
        sft.run(make_config())


def test_a_command_that_leaves_nothing_is_an_error(
    here: Path, make_config: MakeConfig, command: Callable[..., Command]
) -> None:
    command(1, "the disk is gone")
    with pytest.raises(SftError, match=r"^experiment ended without a result in results: the disk is gone$"):
        sft.run(make_config())
