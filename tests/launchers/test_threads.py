"""The environment of a job's process before any library is loaded: threads, and their wait policy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sft.threads import POLICY

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="needs /proc to read the initial environment of a process"
)

# For a forked process this is the environment of the server, which loaded the libraries.
JOB = """
import json, os, sys
from pathlib import Path

def show(arguments):
    started = Path("/proc/self/environ").read_bytes().decode().split("\\0")
    print(json.dumps([dict(entry.split("=", 1) for entry in started if entry), dict(os.environ)]), flush=True)
    return 0

if sys.argv[1:] == ["serve"]:
    from sft.launchers.local.serving import serve
    sys.exit(serve(show, lambda: True))
show(sys.argv[1:])
"""
START = """
import sys, time
from pathlib import Path
from sft.launchers.base import Job, Resources
from sft.launchers.base import Preparation
from sft.launchers.local.launcher import LocalLauncher

if __name__ == "__main__":
    isolation, log = sys.argv[1:]
    launcher = LocalLauncher(Preparation(threads=3), isolation)
    job = Job((sys.executable, "-m", "job_show", "go"), Path(log), resources=Resources(threads=3), shares="base")
    running = launcher.start(job)
    while (status := running.poll()) is None:
        time.sleep(0.01)
    launcher.close()
    sys.exit(status.exit_code)
"""
NAMES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


@pytest.mark.parametrize("isolation", ["fork", "spawn", "resident"])
@pytest.mark.parametrize("own", [{}, {"GOMP_SPINCOUNT": "5000"}, {"KMP_BLOCKTIME": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_a_process_starts_with_its_threads_and_a_wait_policy_unless_the_user_has_set_one(
    tmp_path: Path, isolation: str, own: dict[str, str]
) -> None:
    (tmp_path / "job_show.py").write_text(JOB)
    (tmp_path / "start.py").write_text(START)
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    (tmp_path / "log.txt").touch()
    command = [sys.executable, str(tmp_path / "start.py"), isolation, str(tmp_path / "log.txt")]
    subprocess.run(command, check=True, env={**kept, **own, "PYTHONPATH": path})
    at_start, now = json.loads((tmp_path / "log.txt").read_text())
    expected = {"OMP_NUM_THREADS": "3", **(own or POLICY)}
    assert {name: at_start[name] for name in NAMES if name in at_start} == expected
    assert {name: now[name] for name in NAMES if name in now} == expected
