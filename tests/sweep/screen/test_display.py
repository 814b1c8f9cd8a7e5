"""The display of a running sweep: a live table on a terminal, else a line per change of state."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from sft.log import configure_logging, get_logger
from sft.results.schema import RunState
from sft.results.store import RunFolder
from sft.sweep.outcome import Failure
from sft.sweep.screen import display as display_module
from sft.sweep.screen.display import Display, Line

LOG = Path("results/runs/b-0123456789ab/log.txt")
Lines = Callable[..., Line]


@pytest.fixture
def line(tmp_path: Path) -> Lines:
    """Return a factory of running experiments with a state."""

    def make(name: str, seconds: float, **state: object) -> Line:
        folder = RunFolder(tmp_path / f"run-{abs(hash(name)):012x}")
        folder.write_state(RunState.model_validate({"state": "running", **state}))
        return Line(name, folder, seconds)

    return make


def terminal(text: io.StringIO, width: int = 120, height: int = 40) -> Console:
    return Console(file=text, width=width, height=height, force_terminal=True, soft_wrap=True, highlight=False)


def frames(text: io.StringIO) -> list[list[str]]:
    """Return the lines of each drawing, with lines above the table first, without colours and cursor movements."""
    drawn = re.split(r"(?:\r?\x1b\[(?:1A|2K))+", text.getvalue())
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).strip("\r\n").splitlines() for frame in drawn]


def shown(text: io.StringIO) -> list[str]:
    """Return all lines."""
    return [line for frame in frames(text) for line in frame]


def test_plain_lines_when_piped(line: Lines) -> None:
    text = io.StringIO()
    with Display(total=3, jobs=1, console=Console(file=text, width=40)) as display:
        display.info("Loading")
        display.started("a")
        display.tick([line("a", 1.0, phase="train")])
        display.done("a", 10.0, "accuracy .812")
        display.retried("c", "out of memory")
        display.failed(Failure("b [bold]", "oom", "ValueError: boom", Path("log.txt")), 20.0)
    assert text.getvalue().splitlines() == [
        "Loading",
        "started  a",
        "done     a  accuracy .812  10 s  [1 of 3, about 20 s left]",
        "again    c  out of memory",
        "out of memory b [bold]  ValueError: boom  (log.txt)",
    ]


def test_failures_before_the_start_do_not_change_the_estimate() -> None:
    text = io.StringIO()
    with Display(total=4, jobs=1, console=Console(file=text, width=200)) as display:
        display.failed(Failure("a", "failed", "no column", LOG))
        display.failed(Failure("b", "failed", "wrong argument", LOG), 1.0)
        display.done("c", 10.0, "")
    assert "[3 of 4, about 10 s left]" in text.getvalue()


def test_experiments_of_another_sweep_count_without_a_duration() -> None:
    text = io.StringIO()
    with Display(total=2, jobs=1, console=Console(file=text, width=200)) as display:
        display.done("a", None, "accuracy .812")
    assert text.getvalue() == "done     a  accuracy .812  by another sweep  [1 of 2]\n"


def test_the_time_of_running_experiments_is_subtracted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(display_module.time, "monotonic", lambda: now[0])
    text = io.StringIO()
    with Display(total=3, jobs=2, console=Console(file=text, width=200)) as display:
        display.started("a")
        display.started("b")
        now[0] = 60.0
        display.done("a", 60.0, "")
        display.started("c")
        now[0] = 100.0
        display.done("b", 100.0, "")
    printed = [one for one in text.getvalue().splitlines() if one.startswith("done")]
    assert "[1 of 3, about 1 min 00 s left]" in printed[0]  # b has run for a minute, c has not started
    assert "[2 of 3, about 40 s left]" in printed[1]


def test_a_terminal_shows_a_live_table(line: Lines) -> None:
    text = io.StringIO()
    with Display(total=3, jobs=1, console=terminal(text)) as display:
        display.tick([line("shots=8", 5.0, phase="train", done=3, total=40, note="loss 0.31")], elsewhere=1)
    last = [frame for frame in frames(text) if frame][-1]
    assert last[-3].split() == ["shots=8", "train", "3/40", "loss", "0.31", "5", "s"]
    assert last[-1] == "0 done · 1 running · 0 failed · 1 waiting · 1 elsewhere"
    assert last[-2].startswith("0 of 3 ")


def test_the_table_is_drawn_at_most_four_times_a_second(line: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []
    state = RunFolder.state
    monkeypatch.setattr(RunFolder, "state", lambda folder: (reads.append(folder.path), state(folder))[1])
    one = line("a", 1.0)
    with Display(total=1, jobs=1, console=terminal(io.StringIO())) as display:
        for _ in range(100):
            display.tick([one])
    assert len(reads) == 1


@pytest.mark.parametrize("width", [40, 80, 140])
def test_no_line_of_the_table_is_wider_than_the_terminal(line: Lines, width: int) -> None:
    text = io.StringIO()
    lines = [
        line(f"model=Qwen2.5-0.5B-Instruct shots=16 init=pissa learning_rate=0.0001 epochs=10 seed={n}", 732.0,
             phase="score labels", done=1200, total=100_000, note="a note that goes on and on without an end")
        for n in range(30)
    ] + [line("日本語の名前 " * 9, 3.0, phase="load")]  # fmt: skip
    with Display(total=58, jobs=2, console=terminal(text, width, height=14)) as display:
        display.tick(lines)
        display.done("x" * 300, 12.0, "accuracy .612")
    table = [frame for frame in frames(text) if frame][1]
    assert 5 < len(table) < 14
    assert table[-3] == f"… and {31 - (len(table) - 3)} more"
    for row in shown(text):
        assert cell_len(row.rstrip()) <= width


def test_a_failure_shows_the_complete_path_of_its_log() -> None:
    text = io.StringIO()
    with Display(total=2, jobs=1, console=terminal(text, width=100)) as display:
        display.failed(Failure("b", "failed", "E" * 400, LOG), 1.0)
    (printed,) = [one for one in shown(text) if one.startswith("failed")]
    assert printed.endswith(f"…  ({LOG})")
    assert len(printed) <= 100
    assert "\x1b[31m" in text.getvalue()


@pytest.mark.parametrize("on_terminal", [False, True])
def test_names_are_shown_as_plain_text(line: Lines, on_terminal: bool) -> None:
    text = io.StringIO()
    console = Console(file=text, width=200, force_terminal=on_terminal)
    name = "a\x1b]0;title\x07 [red]\x9b31m"
    with Display(total=3, jobs=1, console=console) as display:
        display.started(name)
        display.tick([line(name, 1.0, phase="train", note=name)])
        display.done(name, 1.0, "")
        display.failed(Failure(name, "failed", "boom\x1b[2J", Path("log.txt")))
    shown = text.getvalue()
    assert "a]0;title [red]31m" in shown
    assert not any(part in shown for part in ("\x1b]", "\x07", "\x9b", "\x1b[2J"))


def test_quiet_shows_only_warnings(line: Lines, caplog: pytest.LogCaptureFixture) -> None:
    text = io.StringIO()
    with (
        caplog.at_level("WARNING", logger="sft"),
        Display(total=2, jobs=1, console=terminal(text), quiet=True) as display,
    ):
        display.info("Loading")
        display.started("a")
        display.tick([line("a", 1.0)])
        display.done("a", 1.0, "")
        display.failed(Failure("b", "failed", "boom", LOG))
        display.warning("a result was damaged")
    assert text.getvalue() == ""
    assert "a result was damaged" in caplog.text


def test_log_lines_are_printed_above_the_live_table(line: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    text, errors = io.StringIO(), io.StringIO()
    monkeypatch.setattr(errors, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", errors)
    logger = get_logger("sft")
    before, logger.handlers = logger.handlers, []
    try:
        configure_logging()
        with Display(total=2, jobs=1, console=terminal(text)) as display:
            display.tick([line("a", 1.0)])
            logger.warning("while the table is shown")
        logger.warning("afterwards")
    finally:
        logger.handlers = before
    assert "warning: while the table is shown" in shown(text)
    assert errors.getvalue() == "warning: afterwards\n"
