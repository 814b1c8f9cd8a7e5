"""The process of the report: its output, its failures, and that it ends with the sweep."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sft.results.store import ResultStore
from sft.secrets import hand_on, remember, take_over
from sft.secrets.known import known
from sft.sweep import reporting

CHILD = "import sys, time, os, signal\n"


def replace_report(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Run other code instead of the report."""
    monkeypatch.setattr(reporting, "watched", lambda _: [sys.executable, "-c", CHILD + code])


def test_its_lines_are_printed_and_its_exit_code_is_returned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lines: list[str] = []
    replace_report(monkeypatch, "print('Δ one'); print('two')")
    assert reporting.report_of(ResultStore(tmp_path), lines.append) == 0
    assert lines == ["Δ one", "two"]
    assert not caplog.text
    replace_report(monkeypatch, "sys.exit(2)")
    assert reporting.report_of(ResultStore(tmp_path), lines.append) == 2
    assert "The report is incomplete" in caplog.text
    replace_report(monkeypatch, "os.kill(os.getpid(), signal.SIGKILL)")
    assert reporting.report_of(ResultStore(tmp_path), lines.append) == 1


def test_if_no_process_can_be_started_the_sweep_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        assert reporting.report_of(ResultStore(tmp_path / "two\nlines"), lambda _: None) == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert "too many processes and threads (see ulimit -u)" in line
    assert "The report was not written; `report " in line
    assert "\n" not in line


def test_a_folder_without_runs_is_reported_by_the_process(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert reporting.report_of(ResultStore(tmp_path / "-none"), lambda _: None) == 2
    assert "no runs to report" in capfd.readouterr().err


def test_it_ends_with_the_sweep(tmp_path: Path) -> None:
    code = (
        "import sys, signal; from pathlib import Path\n"
        "from sft.results.store import ResultStore; from sft.sweep import reporting\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "reporting.watched = lambda _: [sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(60)']\n"
        f"reporting.report_of(ResultStore(Path({str(tmp_path)!r})), lambda line: print(line, flush=True))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "1\n"
        (child,) = psutil.Process(parent.pid).children()
        os.kill(parent.pid, signal.SIGTERM)
        assert parent.wait(50) == 143  # the child would take 60 seconds
    assert not child.is_running()


def test_secrets_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    known.clear()
    assert hand_on() == {}
    remember({"api_key": "canary-51c0ffee42"})
    handed = hand_on()
    known.clear()
    (variable,) = handed
    monkeypatch.setenv(variable, handed[variable])
    take_over()
    from sft.secrets import redact_text

    assert "canary" not in redact_text("the key is canary-51c0ffee42")
    assert variable not in os.environ
    known.clear()
