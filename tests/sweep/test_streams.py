"""Sweeps with standard streams that are files, full, or closed: every experiment runs, and the report is written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SHORT = [("fork", ">>out 2>&-")]
STREAMS = (">out 2>err", ">>out 2>&1", "2>&-", "1>&-", "0<&-", "0<&- 1>&- 2>&-", "2>/dev/full")
LONG = [(isolation, streams) for isolation in ("fork", "spawn") for streams in STREAMS]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("isolation", "streams"),
    [*SHORT, *(pytest.param(*case, marks=pytest.mark.long) for case in LONG if case not in SHORT)],
)
def test_a_sweep_with_any_kind_of_streams(
    tmp_path: Path, make_config: Callable[..., dict[str, Any]], streams: str, isolation: str
) -> None:
    config = make_config(dataset__shots=0, lora=None, training=None)
    (tmp_path / "mine.json").write_text(json.dumps(config), encoding="utf-8")
    command = f'exec "$0" -m sft.cli run-experiments mine.json --isolation {isolation} {streams}'
    ended = subprocess.run(["/bin/sh", "-c", command, sys.executable], cwd=tmp_path, timeout=120, check=False)
    assert ended.returncode == 0
    [run] = (tmp_path / "results" / "runs").iterdir()
    assert json.loads((run / "result.json").read_text(encoding="utf-8"))["results"]
    assert "score" in (run / "log.txt").read_text(encoding="utf-8")
    assert (tmp_path / "results" / "report.html").is_file()
