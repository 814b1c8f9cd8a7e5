"""State and start time of a running process, of an ended process and of one whose name is hard to parse."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sft.procfs import process_stat

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc")


def test_a_process_that_runs_and_one_that_ended(tmp_path: Path) -> None:
    name = shutil.copy2("/bin/cat", tmp_path / "a) Z (b 1")
    with subprocess.Popen([name], stdin=subprocess.PIPE) as process:
        stat = process_stat(process.pid)
        assert stat is not None
        assert stat.state in ("R", "S", "D")
        since_boot = psutil.Process(process.pid).create_time() - psutil.boot_time()
        assert stat.start / os.sysconf("SC_CLK_TCK") == pytest.approx(since_boot, abs=2)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, exit code not yet collected
        ended = process_stat(process.pid)
        assert ended is not None
        assert (ended.state, ended.start) == ("Z", stat.start)
    assert process_stat(process.pid) is None
