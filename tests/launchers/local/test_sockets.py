"""The folder of the fork server's socket: removed at the end, or by the next sweep after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HOLDER = "from sft.launchers.local.sockets import use_own_folder; use_own_folder(); print(flush=True); input()"


def start_holder(folder: Path) -> subprocess.Popen[str]:
    """Start a process that holds a folder there."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.slow
def test_folders_of_killed_sweeps_are_removed_by_the_next_sweep(tmp_path: Path) -> None:
    other = tmp_path / "sft-fork-file"
    other.write_text("not a folder")
    (tmp_path / "sft-fork-link").symlink_to(tmp_path)
    foreign = set(tmp_path.iterdir())
    living = start_holder(tmp_path)
    (of_living,) = set(tmp_path.iterdir()) - foreign
    for _ in range(2):
        killed = start_holder(tmp_path)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert len(set(tmp_path.iterdir()) - foreign) == 2
    start_holder(tmp_path).communicate("\n")
    assert set(tmp_path.iterdir()) - foreign == {of_living}, "the folders of killed and finished sweeps are removed"
    living.communicate("\n")
    assert set(tmp_path.iterdir()) == foreign
