"""Wrong configs, run as commands: one line with advice, exit code 2, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from wrong_configs import CASES
from wrong_zygote import Answer, ask

SECONDS = 20.0  # for a config; the slowest case is a template that loops until its time is over
SLOW = ("harness task",)  # lm-eval reads its whole index first
# Tried in every run of the tests; all others with --slow.
SHORT = (
    "data pth", "features", "config list", "config brackets", "config other size", "config quantization",
    "tokenizer list", "template recursive", "template grows", "template power of power", "argument config",
    "argument weights_only", "adapter pickled", "lora regex", "lora save", "lora head", "plugin dots", "plugin raises",
    "trainer resume", "trainer optim args", "generate temperature 0", "generate assistant",
)  # fmt: skip


def run_all(root: Path, config: Callable[..., dict[str, Any]], names: list[str], *command: str) -> dict[str, Answer]:
    """Run a command for each case."""
    entries = []
    for number, name in enumerate(names):
        folder = root / str(number)
        folder.mkdir()
        changed = config()
        CASES[name](changed, folder)
        (folder / "mine.json").write_text(json.dumps(changed), encoding="utf-8")
        entries.append((folder, [*command, "mine.json"]))
    answers = dict(zip(names, ask(root, entries), strict=True))
    assert not list(root.rglob("executed"))
    return answers


def is_one_line(answer: Answer) -> bool:
    """Return whether the error is one line, or one line for each of several problems, after the log lines."""
    errors = [line for line in answer.stderr.splitlines() if line.startswith("error: ")]
    return answer.code == 2 and len(errors) == 1 and "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    "names", [pytest.param(SHORT, id="short"), pytest.param(CASES, id="all", marks=pytest.mark.long)]
)
def test_a_wrong_config_is_one_line(tmp_path: Path, make_config: Any, names: Any) -> None:
    answers = run_all(tmp_path, make_config, list(names), "run-experiment")
    wrong = {name: answer for name, answer in answers.items() if not is_one_line(answer)}
    assert wrong == {}
    assert {name for name, answer in answers.items() if answer.seconds > SECONDS} <= {*SLOW}


# What a run would only meet once the model is loaded, `validate --data` finds from the model's config.
FOUND_BEFORE = (
    "lora one of two",
    "lora save",
    "lora replication",
    "tokenizer absent",
    "column absent",
    "template recursive",
)


def test_validate_finds_the_errors_of_all_configs_of_a_grid(tmp_path: Path, make_config: Any) -> None:
    """One process looks into the data and models of them all, and each problem is a line that names its config."""
    configs = {}
    for number, name in enumerate(FOUND_BEFORE):
        (folder := tmp_path / str(number)).mkdir()
        configs[name] = make_config()
        CASES[name](configs[name], folder)
    (tmp_path / "grid.json").write_text(json.dumps({"configs": configs}), encoding="utf-8")
    command = [sys.executable, "-m", "sft.cli", "validate", "--data", "grid.json"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 2, answer.stdout + answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    first, *others = answer.stderr.splitlines()
    lines = [first.removeprefix("error: "), *others]
    assert first != lines[0]
    assert [line[line.rindex("(") + 1 : -1] for line in lines] == list(FOUND_BEFORE), answer.stderr
    assert 'has no column "nope" (it has: text, label)' in lines[FOUND_BEFORE.index("column absent")]
    assert not list(tmp_path.rglob("executed"))


def test_validate_finds_what_needs_no_data_without_opening_it(tmp_path: Path, make_config: Any) -> None:
    config = make_config(training__validation_size=6, dataset__path=str(tmp_path))
    (tmp_path / "mine.json").write_text(json.dumps(config), encoding="utf-8")
    command = [sys.executable, "-m", "sft.cli", "validate", "--data", "mine.json"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert is_one_line(Answer(answer.returncode, answer.stderr, 0.0)), answer.stderr
    assert "training.validation_size: 6 leaves none of the 2 shots for training" in answer.stderr


@pytest.mark.long
def test_validate_finds_the_errors_of_a_run(tmp_path: Path, make_config: Any) -> None:
    answers = run_all(tmp_path, make_config, ["training validation", *FOUND_BEFORE], "validate", "--data")
    assert {name: answer for name, answer in answers.items() if not is_one_line(answer)} == {}
