"""A minimal valid config, configs written to files, and commands that are expected to refuse them clearly."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

SECONDS = 10.0  # of the processor; of the clock more, since tests share machines
LONGEST_LINE = 1200
MOST_LINES = 60
# What follows the file's name: `:3:7: …` or `: dataset.shots: …`
PLACE = re.compile(r":\d+:\d+: \S|: \S.*?: \S")


def minimal() -> dict[str, Any]:
    """The least that a run-experiment with shots needs."""
    return {
        "dataset": {"path": "org/data", "task_type": "classification", "shots": 4},
        "model": {"name": "org/model"},
        "lora": {"r": 8},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "training": {},
        "inference": {},
    }


@pytest.fixture
def data() -> dict[str, Any]:
    """A minimal valid config as data, free to be changed."""
    return minimal()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write JSON data or text to a file: `write(data, "mine.json")`."""

    def write_file(content: Any, name: str = "mine.json") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and a home of the test's own: `..` and `~` lead nowhere else."""
    home = tmp_path / "home"
    here = home / "project" / "grids"
    here.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", list(sys.path))  # plugs of the config's folder are put there
    return here


class TooSlow(BaseException):
    """No `except Exception` holds it up."""


@contextmanager
def at_once() -> Iterator[None]:
    """What is inside ends within SECONDS, its children's included."""

    def stop(number: int, frame: Any) -> None:
        raise TooSlow(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 6 * SECONDS)
    start = os.times()[:4]
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert sum(os.times()[:4]) - sum(start) < SECONDS


@pytest.fixture
def refusal(check_message: Callable[[str, str], None]) -> Callable[..., str | None]:
    """Run a command on a file, in this process: what it says against the file, checked; None where it is valid.

    Whatever is no UserError comes through, as it would end as a traceback.
    """
    from typer.main import get_command

    from sft.cli.main import app
    from sft.errors import UserError

    command = get_command(app)  # building it takes longer than validating

    def call(*arguments: str) -> str | None:
        output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        with redirect_stdout(output), at_once():
            try:
                code = command.main([*arguments, "--results-path", "results"], standalone_mode=False)
            except UserError as error:
                assert error.exit_code == 2
                check_message(str(error), arguments[-1])
                return str(error)
        assert not code
        output.flush()  # what it printed can be printed
        return None

    return call


@pytest.fixture
def check_message() -> Callable[[str, str], None]:
    """Assert that a message is short, printable, of this file (or one beside it), and that each problem has a place."""

    def check(text: str, path: str) -> None:
        lines = text.split("\n")
        assert len(lines) <= MOST_LINES
        assert max(map(len, lines)) <= LONGEST_LINE
        assert all(line.isprintable() for line in lines), ascii(text)
        if len(lines) > 1:
            assert re.fullmatch(re.escape(path) + r": \d+ problems", lines[0]), ascii(text)
            assert all(re.match(r"  \S.*?  \S", line) for line in lines[1:]), ascii(text)
        elif lines[0].startswith(path):
            assert PLACE.match(lines[0].removeprefix(path)), ascii(text)
        else:
            assert re.match(r"[^:]+\.libsonnet:\d+:\d+: \S", lines[0]), ascii(text)

    return check
