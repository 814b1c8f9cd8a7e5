"""Everything that a process prints, by any route, reaches its log complete, in order, and without secrets."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft.launchers.base import Isolation, Job
from sft.launchers.local.launcher import LocalLauncher
from sft.launchers.local.streams import LONGEST_LINE, Log
from sft.secrets import remember

CANARY = "canary-7c1f9ab-0123456789"
# Output of a child. A handler that a preloaded library has created holds the stream from before the child started.
ROUTES = """
import atexit, ctypes, faulthandler, logging, os, subprocess, sys, warnings

secret = os.environ["LEAKY_KEY"]
print("print", secret)
print("stderr", secret, file=sys.stderr)
sys.stdout.flush()
os.write(1, f"write 1 {secret}\\n".encode())
os.write(2, f"write 2 {secret[:9]}".encode())
os.write(2, f"{secret[9:]}\\n".encode())
subprocess.run(["echo", "subprocess", secret])
subprocess.run([sys.executable, "-c", f"import sys; sys.stderr.write('grandchild {secret}')"])
os.write(2, b"\\n")
c = ctypes.CDLL(None)
c.puts(f"C stdio {secret}".encode())
c.fflush(None)
sys.__stderr__.write(f"original stream {secret}\\n")
sys.stdout.buffer.write(f"buffer {secret}\\n".encode())
sys.stdout.flush()
os.write(1, f"\\x1b[1mcolours \\x1b[31m{secret[:5]}\\x1b[0m{secret[5:]}\\x1b[0m\\r".encode())
logging.getLogger("early").warning("early logger %s", secret)
logging.basicConfig(stream=sys.stderr)
logging.getLogger("late").error("late logger %s", secret)
warnings.warn(f"warning {secret}")
os.system(f"echo shell {secret}")
with open("/dev/stderr", "w") as stream:
    stream.write(f"device {secret}\\n")
atexit.register(lambda: os.write(1, f"at exit {secret}".encode()))
raise RuntimeError(f"exception {secret}")
"""
PRINTED = (
    "print", "stderr", "write 1", "write 2", "subprocess", "grandchild", "C stdio", "original stream", "buffer",
    "colours", "early logger", "late logger", "warning", "shell", "device", "at exit", "exception",
)  # fmt: skip
EARLY = "import logging\nlogging.getLogger('early').addHandler(logging.StreamHandler())\n"
SERVED = "\n".join([
    "import runpy, sys", "from sft.launchers.local.serving import serve", "import early_library",
    "def run(arguments):", "    try:", "        runpy.run_module('leaky_routes')", "    except RuntimeError as error:",
    "        __import__('traceback').print_exception(error)", "    __import__('atexit')._run_exitfuncs()",
    "    return 1", "if sys.argv[1:] == ['serve']: serve(run, lambda: False)", "else: sys.exit(run(sys.argv[1:]))",
])  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, source in (("leaky_routes", ROUTES), ("early_library", EARLY), ("leaky_server", SERVED)):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("LEAKY_KEY", CANARY)
    return tmp_path


def finish(launcher: LocalLauncher, job: Job) -> int:
    running = launcher.start(job)
    deadline = time.monotonic() + 60
    while (status := running.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return status.exit_code


LAUNCHING = """
import sys, time
from pathlib import Path
from sft.launchers.base import Job
from sft.launchers.base import Preparation
from sft.launchers.local.launcher import LocalLauncher

if __name__ == "__main__":
    launcher = LocalLauncher(Preparation(("early_library",)), sys.argv[1])
    module = "leaky_server" if sys.argv[1] == "resident" else "leaky_routes"
    running = launcher.start(Job((sys.executable, "-m", module), Path("log.txt"), shares="base"))
    while (status := running.poll()) is None:
        time.sleep(0.01)
    launcher.close()
    sys.exit(status.exit_code)
"""


@pytest.mark.parametrize("isolation", ["fork", "spawn", "resident"])
def test_every_route_is_redacted(folder: Path, isolation: Isolation) -> None:
    (folder / "launching.py").write_text(LAUNCHING)  # in its own process, as there is one fork server per process
    command = [sys.executable, "launching.py", isolation]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert (answer.returncode, answer.stdout) == (1, ""), answer.stderr
    log = (folder / "log.txt").read_text()
    assert "canary" not in log + answer.stderr
    missing = [route for route in PRINTED if f"{route} <redacted>" not in log]
    assert missing == (["at exit"] if isolation == "fork" else []), log  # multiprocessing runs no exit handlers


def test_output_is_appended_to_the_log_completely(folder: Path) -> None:
    (folder / "many.py").write_text("for n in range(200_000): print('line', n)\nprint('no end of line', end='')")
    log = folder / "new" / "log.txt"
    launcher = LocalLauncher(isolation="spawn")
    for _ in range(2):
        assert finish(launcher, Job((sys.executable, str(folder / "many.py")), log)) == 0
    once = "".join(f"line {n}\n" for n in range(200_000)) + "no end of line"
    assert log.read_text() == once * 2


def test_a_detached_process_that_holds_the_pipe_is_not_waited_for(folder: Path) -> None:
    (folder / "leaver.py").write_text(
        "import subprocess, sys\nprint('begun')\n"
        "subprocess.Popen(['sh', '-c', 'sleep 60'], start_new_session=True)\nprint('ended')\n"
    )
    started = time.monotonic()
    assert (
        finish(LocalLauncher(isolation="spawn"), Job((sys.executable, str(folder / "leaver.py")), folder / "log.txt"))
        == 0
    )
    assert time.monotonic() - started < 30
    assert (folder / "log.txt").read_text() == "begun\nended\n"


def through_a_log(file: Path, pieces: list[bytes]) -> str:
    """Return the text of a log after these writes."""
    with Log(file) as log:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(log.writer, rest) :]
    log.close()
    return file.read_text(encoding="utf-8")


@settings(max_examples=60, deadline=None)
@given(
    before=st.text(st.characters(blacklist_categories=["Cs", "Cc"])),
    cuts=st.lists(st.integers(0, 200), max_size=8),
    lines=st.integers(1, 4),
)
def test_a_secret_in_pieces_is_redacted(
    tmp_path_factory: pytest.TempPathFactory, before: str, cuts: list[int], lines: int
) -> None:
    remember({"password": CANARY})
    text = f"{before} {CANARY}\n" * lines
    data = text.encode()
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[first:last] for first, last in itertools.pairwise(bounds)]
    logged = through_a_log(tmp_path_factory.mktemp("log") / "log.txt", pieces)
    assert logged == text.replace(CANARY, "<redacted>")


def test_a_very_long_line_is_not_split_within_a_secret(tmp_path: Path) -> None:
    remember({"password": CANARY})
    word = f"{CANARY} "
    pieces = [word.encode() * 1000] * (2 * LONGEST_LINE // (1000 * len(word)))
    logged = through_a_log(tmp_path / "log.txt", pieces)
    assert set(logged.split()) == {"<redacted>"}
    assert len(logged.split()) == 1000 * len(pieces)


def test_a_private_key_in_pieces_is_redacted_as_a_whole(tmp_path: Path) -> None:
    lines = [f"c2VjcmV0{n:04d}{'x' * 50}" for n in range(40)]
    key = ["-----BEGIN RSA PRIVATE KEY-----", *lines, "-----END RSA PRIVATE KEY-----"]
    logged = through_a_log(tmp_path / "log.txt", [f"{line}\n".encode() for line in ["before", *key, "after"]])
    assert logged == "before\n<redacted>\nafter\n"
    cut_off = through_a_log(tmp_path / "other.txt", [f"{line}\n".encode() for line in key[:20]])
    assert "c2VjcmV0" not in cut_off


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    assert through_a_log(tmp_path / "log.txt", [b"\xff\xfe caf\xc3", b"\xa9 \x00\n"]) == "\\xff\\xfe café \x00\n"


def test_links_and_fifos_are_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("kept")
    (tmp_path / "link.txt").symlink_to(tmp_path / "other.txt")
    os.mkfifo(tmp_path / "fifo.txt")
    for name in ("link.txt", "fifo.txt"):
        with pytest.raises(OSError, match=f"{name} cannot be written"):
            Log(tmp_path / name)
    assert (tmp_path / "other.txt").read_text() == "kept"


def test_a_closed_log_touches_no_other_file(tmp_path: Path) -> None:
    """After a served process has answered and ended, other files may reuse the file descriptors of its log."""
    with Log(tmp_path / "log.txt") as log:
        os.write(log.writer, b"all\n")
    log.close()
    assert (tmp_path / "log.txt").read_text() == "all\n"
    other = tmp_path / "other.txt"
    other.write_text("kept")
    handles = [os.open(other, os.O_RDWR) for _ in range(8)]
    log.flush()
    log.switch_to(tmp_path / "next.txt")
    assert [os.lseek(handle, 0, os.SEEK_CUR) for handle in handles] == [0] * 8
    for handle in handles:
        os.close(handle)
    assert other.read_text() == "kept"
