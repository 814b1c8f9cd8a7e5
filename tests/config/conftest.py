"""A minimal valid config, configs written to files, and commands that must refuse them clearly."""

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

SECONDS = 10.0  # of CPU time; more of wall time, since tests share machines
LONGEST_LINE = 1200
MOST_LINES = 60
# After the file's name: `:3:7: …` or `: dataset.shots: …`
LOCATION = re.compile(r":\d+:\d+: \S|: \S.*?: \S")


def minimal() -> dict[str, Any]:
    """Return the smallest config of a run-experiment with shots."""
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
    """Return a minimal valid config as data, for the test to change."""
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
    """Return the test's own working directory inside its own home: `..` and `~` stay inside."""
    home = tmp_path / "home"
    here = home / "project" / "grids"
    here.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", list(sys.path))  # the config's folder is added for plugins
    return here


class TooSlow(BaseException):
    """Not an Exception, so that no `except Exception` catches it."""


@contextmanager
def at_once() -> Iterator[None]:
    """Fail if the block, with its children, takes more than SECONDS."""

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
    """Run a command on a file in this process. Return its checked error message; None if the file is valid.

    Errors other than UserError pass, since a user would get a traceback.
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
        output.flush()  # the output can be encoded
        return None

    return call


@pytest.fixture
def check_message() -> Callable[[str, str], None]:
    """Assert that a message is short, printable, about this file or an import, and that each problem has a location."""

    def check(text: str, path: str) -> None:
        lines = text.split("\n")
        assert len(lines) <= MOST_LINES
        assert max(map(len, lines)) <= LONGEST_LINE
        assert all(line.isprintable() for line in lines), ascii(text)
        if len(lines) > 1:
            assert re.fullmatch(re.escape(path) + r": \d+ problems", lines[0]), ascii(text)
            assert all(re.match(r"  \S.*?  \S", line) for line in lines[1:]), ascii(text)
        elif lines[0].startswith(path):
            assert LOCATION.match(lines[0].removeprefix(path)), ascii(text)
        else:
            assert re.match(r"[^:]+\.libsonnet:\d+:\d+: \S", lines[0]), ascii(text)

    return check
