"""Log lines and streams: without secrets, and otherwise as they were."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sft.log import RedactingStream, also_logged, configure_logging, get_logger

CANARY = "canary-0123456789"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    logger = logging.getLogger("sft")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def test_messages_arguments_and_exceptions_are_logged_without_secrets(tmp_path: Path) -> None:
    configure_logging()
    log = get_logger("sft.test")
    with also_logged(tmp_path / "log.txt"):
        log.info("with %s", CANARY)
        log.warning(f"{CANARY} at https://user:pass@host/x")
        try:
            try:
                raise KeyError(CANARY)
            except KeyError as error:
                raise RuntimeError(f"again {CANARY}") from error
        except RuntimeError:
            log.exception("failed")
    text = (tmp_path / "log.txt").read_text()
    assert "canary" not in text
    assert "with <redacted>\n" in text
    assert "warning: <redacted> at https://<redacted>@host/x\n" in text
    assert "KeyError: '<redacted>'" in text
    assert "RuntimeError: again <redacted>" in text


def test_a_stream_passes_on_all_but_secrets(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        stream = RedactingStream(file)
        assert stream.write(f"a {CANARY}\n") == len(CANARY) + 3
        stream.writelines(["b\n", CANARY])
        print("", CANARY, file=stream, flush=True)  # type: ignore[call-overload]
        assert (stream.fileno(), stream.encoding, stream.isatty()) == (file.fileno(), "utf-8", False)
    assert (tmp_path / "out").read_text() == "a <redacted>\nb\n<redacted> <redacted>\n"


def test_bars_and_consoles_write_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import click
    from rich.console import Console
    from rich.progress import Progress
    from tqdm import tqdm

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", RedactingStream(terminal))
    console = Console(stderr=True, width=200, highlight=False)  # colours inside a secret would hide it from us
    assert console.is_terminal
    console.print(f"rich {CANARY}")
    with Progress(console=console) as progress:
        progress.update(progress.add_task(f"bar {CANARY}", total=2), completed=2)
    for _ in tqdm(range(2), desc=f"tqdm {CANARY}"):
        pass
    click.echo(f"click {CANARY}", err=True)
    shown = terminal.getvalue()
    assert "canary" not in shown
    assert [word for word in ("rich", "bar", "tqdm", "click") if f"{word} <redacted>" not in shown] == []


@pytest.mark.parametrize(("number", "lost"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EPIPE, False)])
def test_where_lines_may_be_lost_a_full_disk_stops_nothing(number: int, lost: bool) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(number, os.strerror(number))

        def flush(self) -> None:
            raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match=os.strerror(number)):
        RedactingStream(Broken()).write("x")
    stream = RedactingStream(Broken(), lossy=True)
    if lost:
        assert stream.write("x") == 1
        stream.flush()
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            stream.flush()
