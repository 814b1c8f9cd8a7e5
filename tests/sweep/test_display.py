"""What a sweep prints where there is no terminal: one line per change of state, an honest estimate."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from sft.results.schema import RunState
from sft.sweep.display import Display, Line, duration
from sft.sweep.outcome import Failure


def test_plain_lines_when_piped() -> None:
    text = io.StringIO()
    with Display(total=3, jobs=1, console=Console(file=text, width=200)) as display:
        display.started("a")
        display.tick([Line("a", RunState(state="running", phase="train"), 1.0)])
        display.done("a", 10.0, "accuracy .812")
        display.failed(Failure("b [bold]", "failed", "ValueError: boom", Path("log.txt")), 20.0)
    assert text.getvalue().splitlines() == [
        "started  a",
        "done     a  accuracy .812  10 s  [1 of 3, about 20 s left]",
        "failed   b [bold]  ValueError: boom  (log.txt)",
    ]


def test_failures_before_the_start_do_not_bend_the_estimate() -> None:
    text = io.StringIO()
    with Display(total=3, jobs=1, console=Console(file=text, width=200)) as display:
        display.failed(Failure("a", "failed", "no column", Path("log.txt")))
        display.done("b", 10.0, "")
    assert "[2 of 3, about 10 s left]" in text.getvalue()


def test_a_terminal_gets_a_live_table() -> None:
    text = io.StringIO()
    console = Console(file=text, width=120, force_terminal=True)
    with Display(total=2, jobs=1, console=console) as display:
        display.tick(
            [Line("shots=8", RunState(state="running", phase="train", done=3, total=40, note="loss 0.31"), 5.0)]
        )
    for part in ("shots=8", "train", "3/40", "loss 0.31"):
        assert part in text.getvalue()
    assert "[bold]" not in text.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_names_reach_the_terminal_as_text(terminal: bool) -> None:
    text = io.StringIO()
    console = Console(file=text, width=200, force_terminal=terminal)
    name = "a\x1b]0;title\x07 [red]\x9b31m"
    with Display(total=3, jobs=1, console=console) as display:
        display.started(name)
        display.tick([Line(name, RunState(state="running", phase="train", note=name), 1.0)])
        display.done(name, 1.0, "")
        display.failed(Failure(name, "failed", "boom\x1b[2J", Path("log.txt")))
    shown = text.getvalue()
    assert "a]0;title [red]31m" in shown
    assert not any(part in shown for part in ("\x1b]", "\x07", "\x9b", "\x1b[2J"))


@pytest.mark.parametrize(("seconds", "text"), [(8.2, "8 s"), (860, "14 min 20 s"), (11_100, "3 h 05 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
