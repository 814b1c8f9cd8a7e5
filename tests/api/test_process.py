"""A command in a separate process: its output, its result, and Ctrl-C."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from sft.api import process
from sft.api.process import Ended, run_command
from sft.launchers.base import NoProcessError

CHILD = "import os, signal, sys, time\n"


def replace_command(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Run other code instead of the command."""
    monkeypatch.setattr(process, "watched", lambda _: [sys.executable, "-c", CHILD + code])


def test_its_lines_are_shown_and_its_code_returned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_command(
        monkeypatch, "print('Δ one'); print('warning: two', file=sys.stderr); print('three', file=sys.stderr)"
    )
    assert run_command(["x"]) == Ended(0)
    assert capsys.readouterr() == ("Δ one\n", "warning: two\nthree\n")
    assert run_command(["x"], quiet=True) == Ended(0)
    assert capsys.readouterr() == ("", "warning: two\n")


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ("error: no such file", "no such file"),
        ("error: grid: 2 problems\n  a  error: x\n  b  y", "grid: 2 problems\n  a  error: x\n  b  y"),
        ("Usage: sft run [OPTIONS]\nTry --help\n\nError: Invalid value: x", "Invalid value: x"),
    ],
)
def test_the_message_of_an_error_is_returned_instead_of_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], printed: str, message: str
) -> None:
    replace_command(monkeypatch, f"print('before', file=sys.stderr); print({printed!r}, file=sys.stderr); sys.exit(2)")
    assert run_command(["x"]) == Ended(2, message)
    assert capsys.readouterr().err == "before\n"


def test_a_bug_keeps_its_traceback_even_when_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = (
        "note\nTraceback (most recent call last):\n  File x\nValueError: boom\nThis is a bug in sft: please report it."
    )
    replace_command(monkeypatch, f"print({printed!r}, file=sys.stderr); sys.exit(1)")
    assert run_command(["x"], quiet=True) == Ended(1, "", bug=True)
    assert capsys.readouterr().err == printed.removeprefix("note\n") + "\n"


def test_a_killed_process_is_reported_by_its_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_command(monkeypatch, "os.kill(os.getpid(), signal.SIGKILL)")
    assert run_command(["x"]) == Ended(-signal.SIGKILL)


def test_the_callers_process_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_command(monkeypatch, "os.environ['X'] = '1'; print(1)")
    before = [signal.getsignal(number) for number in signal.valid_signals()], dict(os.environ), sys.stdout, sys.stderr
    run_command(["x"])
    after = [signal.getsignal(number) for number in signal.valid_signals()], dict(os.environ), sys.stdout, sys.stderr
    assert before == after
    assert not [thread for thread in threading.enumerate() if thread.name == "stderr of a command"]


def test_it_works_in_a_thread_where_standard_output_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_command(monkeypatch, "print('one'); print('two', file=sys.stderr)")
    out, err, found = io.StringIO(), io.StringIO(), []
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    thread = threading.Thread(target=lambda: found.append(run_command(["x"])))
    thread.start()
    thread.join(30)
    assert (found, out.getvalue(), err.getvalue()) == ([Ended(0)], "one\n", "two\n")


def test_it_works_without_any_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_command(monkeypatch, "print('one'); print('two', file=sys.stderr)")
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert run_command(["x"]) == Ended(0)


def test_an_output_that_cannot_be_written_ends_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    note = tmp_path / "pid"
    replace_command(
        monkeypatch, f"open({str(note)!r}, 'w').write(str(os.getpid())); print(1, flush=True); time.sleep(60)"
    )
    monkeypatch.setattr(sys, "stdout", Full())
    start = time.monotonic()
    with pytest.raises(OSError, match="No space left"):
        run_command(["x"])
    assert time.monotonic() - start < 9
    assert not psutil.pid_exists(int(note.read_text()))


def test_a_process_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(NoProcessError, match="too many processes and threads"):
        run_command(["x"])


def caller(code: str) -> str:
    """Return a script that runs this code as the command, and prints how it returned."""
    return (
        "import sys\nfrom sft.api import process\n"
        f"process.watched = lambda _: [sys.executable, '-c', {CHILD + code!r}]\n"
        "try:\n    process.run_command(['x'])\nexcept KeyboardInterrupt:\n    print('interrupted', flush=True)\n"
    )


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_lets_the_command_end_in_order_and_goes_on_to_the_caller(times: int) -> None:
    code = (
        "heard = []\n"
        "signal.signal(signal.SIGINT, lambda *_: heard.append(1))\n"
        "print('ready', flush=True)\n"
        f"while len(heard) < {times}:\n    time.sleep(0.02)\n    print(len(heard), flush=True)\n"
        "print('in order', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", caller(code)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        for number in range(times):
            os.kill(parent.pid, signal.SIGINT)
            while parent.stdout.readline().strip() not in (str(number + 1), "in order"):
                assert parent.poll() is None
        rest = parent.stdout.read().split()
        assert rest[-1] == "interrupted"
        assert parent.wait(10) == 0


def test_it_ends_when_the_caller_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import sys\nfrom sft.api import process\n"
        "before = process.watched\n"
        "process.watched = lambda _: before((sys.executable, '-m', 'waits'))\n"
        "process.run_command(['x'])\n"
    )
    (tmp_path / "waits.py").write_text(
        f"import os, time\nopen({str(note)!r}, 'w').write(str(os.getpid()))\nprint(1, flush=True)\ntime.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "1\n"
        child = psutil.Process(int(note.read_text()))
        parent.kill()
        assert child.wait(20) is None or not child.is_running()
