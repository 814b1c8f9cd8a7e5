"""Log lines and streams: without secrets, otherwise unchanged."""

from __future__ import annotations

import errno
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sft.log import OutputError, RedactingStream, also_logged, configure_logging, get_logger

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


def test_a_stream_writes_all_but_secrets(tmp_path: Path) -> None:
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


class Broken(io.StringIO):
    """A stream whose writes fail while it has an error."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.tries = number, 0

    def write(self, text: str) -> int:
        self.tries += 1
        self._fail()
        return super().write(text)

    def flush(self) -> None:
        self._fail()

    def _fail(self) -> None:
        if self.number:
            raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EPIPE, errno.EIO])
def test_a_lossy_stream_raises_nothing(number: int) -> None:
    broken = Broken(number)
    stream = RedactingStream(broken, lossy=True)
    assert stream.write("x") == 1
    stream.flush()
    broken.number = 0
    stream.write("y")
    room_again = number in (errno.ENOSPC, errno.EDQUOT)
    assert broken.getvalue() == ("y" if room_again else ""), "a reader that has left does not come back"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE])
def test_another_stream_raises_the_first_error(number: int) -> None:
    broken = Broken(number)
    stream = RedactingStream(broken)
    with pytest.raises(OutputError, match=os.strerror(number)) as caught:
        stream.write("x")
    assert caught.value.errno == number
    stream.write("y")
    stream.flush()
    assert broken.tries == 1
    stream.begin(lossy=False)
    with pytest.raises(OutputError):
        stream.write("z")


@pytest.mark.parametrize("lossy", [False, True])
def test_unwritten_text_does_not_fail_the_exit_of_the_process(lossy: bool) -> None:
    program = (
        "import sys; from sft.log import OutputError, RedactingStream\n"
        f"sys.stdout = RedactingStream(sys.stdout, lossy={lossy})\n"
        "try: print('x', flush=True)\n"
        "except OutputError as error: sys.exit(2)"
    )
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (answer.returncode, answer.stderr) == (0 if lossy else 2, b"")
