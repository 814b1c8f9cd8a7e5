"""The folder of the fork server's socket: removed at the end, or by the next sweep after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HOLD = "from sft.launchers.local.sockets import use_own_folder; use_own_folder(); print(flush=True); input()"


def held(folder: Path) -> subprocess.Popen[str]:
    """A process that has a folder there."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.slow
def test_killed_sweeps_leave_no_folders_that_add_up(tmp_path: Path) -> None:
    other = tmp_path / "sft-fork-file"
    other.write_text("no folder")
    (tmp_path / "sft-fork-link").symlink_to(tmp_path)
    odd = set(tmp_path.iterdir())
    living = held(tmp_path)
    (of_living,) = set(tmp_path.iterdir()) - odd
    for _ in range(2):
        killed = held(tmp_path)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert len(set(tmp_path.iterdir()) - odd) == 2
    held(tmp_path).communicate("\n")
    assert set(tmp_path.iterdir()) - odd == {of_living}, "the killed ones' are gone, and the last one's own"
    living.communicate("\n")
    assert set(tmp_path.iterdir()) == odd
