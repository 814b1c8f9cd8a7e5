"""Wrong configs, run as commands: one line with advice, exit code 2, no traceback."""

from __future__ import annotations

import json
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
    "training validation",
    "template recursive",
)


def test_validate_finds_the_errors_of_a_run(tmp_path: Path, make_config: Any) -> None:
    answers = run_all(tmp_path, make_config, list(FOUND_BEFORE), "validate", "--data")
    assert {name: answer for name, answer in answers.items() if not is_one_line(answer)} == {}
