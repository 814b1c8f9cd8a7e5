"""Jobs as processes: their log, environment and limits, and the end of all their children."""

from __future__ import annotations

import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from sft.errors import UserError
from sft.launchers.base import Isolation, Job, Launcher, Resources, RunningJob, Status
from sft.launchers.local import lifetime
from sft.launchers.local.launcher import LocalLauncher
from sft.launchers.local.process_group import ProcessGroup
from sft.launchers.local.spawn import FreshProcess
from sft.plugins import LAUNCHERS

FAMILY = """
import os, signal, subprocess, sys, time
polite, = sys.argv[1:]
if polite == "no":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
children = [subprocess.Popen([sys.executable, "-c", code], start_new_session=new) for new in (False, True)]
time.sleep(0.3)
print(*[child.pid for child in children], flush=True)
time.sleep(60)
"""
MODULES = {
    "family": FAMILY,
    "greet": "import os, sys; print(os.environ['GREETING']); print('error', file=sys.stderr); sys.exit(3)",
    "shoot": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "shell": "import os; os._exit(137)",
    "eat": "import time; eaten = bytearray(200 * 2**20); time.sleep(60)",
    "asked": (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('asked', flush=True), time.sleep(0.5), sys.exit(7)))\n"
        "print('ready', flush=True)\ntime.sleep(60)\n"
    ),
    "sees": "import os; print(*(os.environ.get(n, 'unset') for n in ('CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS')))",
}

SETS_STREAMS = """
import sys
for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    print("\\u00e9", file=stream, flush=True)
"""
SWEEPS = """
import sys, time
from pathlib import Path
from sft.launchers.base import Job
from sft.launchers.local.launcher import LocalLauncher
if __name__ == "__main__":
    job = LocalLauncher(isolation=sys.argv[1]).start(Job((sys.executable, "-m", "setting"), Path(sys.argv[2])))
    while (status := job.poll()) is None:
        time.sleep(0.02)
    print(status.exit_code)
"""


@pytest.fixture(params=["spawn", "fork"])
def launcher(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    """A launcher for each way to start a process, which can run the modules above."""
    for name, code in MODULES.items():
        (tmp_path / f"job_{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    launcher: Launcher = LAUNCHERS.resolve("local")(isolation=request.param)
    return launcher


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "new" / "log.txt"


def start(launcher: Launcher, log: Path, name: str, *arguments: str, **settings: object) -> RunningJob:
    argv = (sys.executable, "-m", f"job_{name}", *arguments)
    return launcher.start(Job(argv, log, **settings))  # type: ignore[arg-type]


def finish(job: RunningJob) -> Status:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (status := job.poll()) is not None:
            return status
        time.sleep(0.01)
    raise AssertionError("the job never ended")


def wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + 30
    while not (log.exists() and text in log.read_text()):
        assert time.monotonic() < deadline, f"the log never contained {text!r}"
        time.sleep(0.01)


def wait_until_gone(pids: list[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for pid in pids:
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"{pid} is still alive"
            time.sleep(0.01)


def family_of(log: Path) -> list[int]:
    wait_for(log, "\n")
    return [int(word) for word in log.read_text().split()]


def test_output_goes_to_the_log_and_the_exit_code_is_returned(launcher: Launcher, log: Path) -> None:
    log.parent.mkdir()
    log.write_text("before\n")
    status = finish(start(launcher, log, "greet", environment={"GREETING": "hello"}))
    assert (status.exit_code, status.cause) == (3, "")
    assert sorted(log.read_text().split()) == ["before", "error", "hello"]
    assert "GREETING" not in os.environ


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_a_job_can_reconfigure_its_streams_when_the_sweep_prints_to_a_file(tmp_path: Path, isolation: str) -> None:
    for module, code in {"setting": SETS_STREAMS, "sweeping": SWEEPS}.items():
        (tmp_path / f"{module}.py").write_text(code)
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    command = [sys.executable, "-m", "sweeping", isolation, str(tmp_path / "log.txt")]
    with (tmp_path / "output.txt").open("ab") as output:
        output.write(b"before\n")
        output.flush()
        subprocess.run(command, stdout=output, stderr=output, env={**os.environ, "PYTHONPATH": path}, check=True)
    assert (tmp_path / "log.txt").read_text() == "é\né\n"
    assert (tmp_path / "output.txt").read_text() == "before\n0\n"


def test_a_job_has_the_devices_and_threads_of_its_resources(
    launcher: Launcher, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    finish(start(launcher, log, "sees", resources=Resources(devices=("1", "GPU-x"), threads=3)))
    finish(start(launcher, log, "sees"))
    first, second = log.read_text().splitlines()
    assert first == "1,GPU-x 3"
    assert second.split()[0] == "unset", "the devices of the launcher itself, though the server has none"


def test_a_signal_is_a_negative_exit_code(launcher: Launcher, log: Path) -> None:
    assert finish(start(launcher, log, "shoot"))[0::2] == (-9, "")


@pytest.mark.parametrize("name", ["shoot", "shell"])
def test_a_kill_while_the_system_runs_out_of_memory_has_cause_memory(
    launcher: Launcher, log: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = iter(range(100))
    monkeypatch.setattr("sft.launchers.local.launcher.out_of_memory_kills", lambda: next(kills))
    assert finish(start(launcher, log, name)).cause == "memory"


def test_a_job_over_its_memory_limit_is_killed(launcher: Launcher, log: Path) -> None:
    status = finish(start(launcher, log, "eat", resources=Resources(memory=150 * 2**20)))
    assert status[0::2] == (-9, "limit")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports shared memory")
def test_shared_memory_counts_once() -> None:
    """As for a fork server and its children, or for a model and its data workers."""
    code = (
        "import os, time\nheld = bytearray(b'x') * (160 * 2**20)\nos.fork()\nos.write(1, b'ready\\n'); time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert holder.stdout is not None
    try:
        assert [holder.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        (child,) = psutil.Process(holder.pid).children()
        parent_group, child_group = ProcessGroup(holder.pid), ProcessGroup(child.pid)
        assert not parent_group.exceeds(250 * 2**20), "the sum of resident memory is 320 MiB"
        assert parent_group.exceeds(150 * 2**20)
        assert not child_group.exceeds(150 * 2**20), "half of it is the parent's"
        assert child_group.exceeds(60 * 2**20)
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("polite", ["yes", "no"])
def test_a_timeout_ends_the_job_with_its_children(
    launcher: Launcher, log: Path, polite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Including children that ignore the signal, and one in its own session."""
    monkeypatch.setattr("sft.launchers.local.launcher.GRACE_SECONDS", 0.3)
    job = start(launcher, log, "family", polite, resources=Resources(seconds=2.0))
    status = finish(job)
    assert status.cause == "timeout"
    assert status.seconds < 10
    wait_until_gone(family_of(log), 5)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems report birth times differently")
def test_a_descendant_is_identified_after_a_clock_change(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        members = ProcessGroup(os.getpid()).descendants_with_birth()
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda: 1e9)
        monkeypatch.setattr("time.time", lambda: 1e9)
        group = ProcessGroup(0)
        for pid, born in members:
            group.note(pid, born)
        group.note(os.getpid(), 0.0)  # another process had that id then
        assert child.pid in [process.pid for process in group._known]
        assert os.getpid() not in [process.pid for process in group._known]
    finally:
        child.kill()
        child.wait()


@pytest.mark.slow
def test_a_process_that_ignores_signals_is_killed_after_a_clock_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.time = lambda now=time.time: now() - 3e7\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(lifetime, "SECONDS_TO_END", 0.3)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    leads = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {deaf!r}])"
    start_process, reapers = subprocess.Popen, list[subprocess.Popen[bytes]]()
    leader = start_process([sys.executable, "-c", leads], start_new_session=True)
    try:
        while not ProcessGroup(leader.pid).others_alive():
            time.sleep(0.02)
        with monkeypatch.context() as patch:
            patch.setattr("subprocess.Popen", lambda *a, **more: reapers.append(start_process(*a, **more)))
            lifetime._start_reaper(leader.pid, [])
        assert leader.wait(15) == -signal.SIGKILL
        assert reapers[0].wait(15) == 0
    finally:
        ProcessGroup(leader.pid).kill()
        leader.wait()


@pytest.mark.slow
def test_a_kill_ends_the_whole_family(launcher: Launcher, log: Path) -> None:
    job = start(launcher, log, "family", "no")
    family = family_of(log)
    job.kill()
    assert finish(job).exit_code == -9
    wait_until_gone(family, 5)


def test_asking_twice_sends_one_signal(launcher: Launcher, log: Path) -> None:
    job = start(launcher, log, "asked")
    wait_for(log, "ready")
    job.ask_to_end()
    job.ask_to_end()
    assert finish(job).exit_code == 7
    assert log.read_text().split() == ["ready", "asked"]


def test_a_command_that_is_not_a_module_is_started_unchanged(tmp_path: Path, launcher: Launcher, log: Path) -> None:
    job = launcher.start(Job((sys.executable, "-c", "print(1 + 1)"), log))
    assert finish(job).exit_code == 0
    assert log.read_text() == "2\n"


def test_a_missing_program_raises_file_not_found(launcher: Launcher, log: Path) -> None:
    with pytest.raises(FileNotFoundError):
        launcher.start(Job(("/no/such/program",), log))


def test_a_killed_server_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job_sleep.py").write_text("import time; print('here', flush=True); time.sleep(60)")
    (tmp_path / "job_short.py").write_text("print('short')")
    monkeypatch.syspath_prepend(tmp_path)
    launcher, log = LocalLauncher(isolation="fork"), tmp_path / "log.txt"
    job = start(launcher, log, "sleep")
    wait_for(log, "here")
    (child,) = [p for p in psutil.Process().children(recursive=True) if p.ppid() != os.getpid()]
    psutil.Process(child.ppid()).send_signal(signal.SIGKILL)
    assert finish(job).exit_code == 255
    wait_until_gone([child.pid], 5)
    assert finish(start(launcher, log, "short")).exit_code == 0
    assert "short" in log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["spawn", "fork", "resident"])
@pytest.mark.parametrize("polite", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_job_ends_when_its_parent_is_killed(tmp_path: Path, isolation: str, polite: bool) -> None:
    """Including children that ignore signals, whether the job ends at once or ignores signals itself."""
    log = tmp_path / "log.txt"
    family = FAMILY.replace("sys.argv[1:]", "'yes'," if polite else "'no',")
    family = family.replace("print(", "print(os.getpid(), ")
    served = "from sft.launchers.local.serving import serve\nserve(lambda _: family(), lambda: True)\n"
    module = "def family():\n" + textwrap.indent(family, "    ") + "\n"
    (tmp_path / "job_family.py").write_text(module + (served if isolation == "resident" else "family()\n"))
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from sft.launchers.base import Job\n"
        "from sft.launchers.local.launcher import LocalLauncher\n"
        f"job = Job((sys.executable, '-m', 'job_family'), Path({str(log)!r}), shares='base')\n"
        f"running = LocalLauncher(isolation={isolation!r}).start(job)\n"
        "time.sleep(60)\n"
    )
    variables = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    parent = subprocess.Popen([sys.executable, "-c", code], env=variables)
    family_pids = family_of(log)
    assert len(family_pids) == 3
    parent.kill()
    parent.wait()
    wait_until_gone(family_pids, 10)


@pytest.mark.slow
def test_jobs_of_a_program_without_a_main_guard_start_as_new_processes(tmp_path: Path) -> None:
    """The forked child first imports the program, which would start the sweep again."""
    log = tmp_path / "log.txt"
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from sft.launchers.base import Job\n"
        "from sft.launchers.local.launcher import LocalLauncher\n"
        "launcher = LocalLauncher(isolation='fork')\n"
        "codes = []\n"
        "for _ in range(2):\n"
        f"    job = launcher.start(Job((sys.executable, '-m', 'this'), Path({str(log)!r})))\n"
        "    while (status := job.poll()) is None:\n"
        "        time.sleep(0.01)\n"
        "    codes.append(status.exit_code)\n"
        "print(codes)\n"
    )
    program = tmp_path / "program.py"
    program.write_text(code)
    answer = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False)
    assert answer.stdout == "[0, 0]\n", answer.stderr
    assert answer.stderr.count("__main__") == 1
    assert log.read_text().count("Beautiful is better than ugly") == 2


def test_a_job_that_cannot_be_forked_starts_as_a_new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalLauncher, "ready", lambda _: pytest.fail("no server is needed"))
    launcher = LocalLauncher(isolation="fork")
    job = launcher.start(Job((sys.executable, "-m", "this"), tmp_path / "log.txt", forkable=False))
    assert isinstance(job._process, FreshProcess)
    assert finish(job).exit_code == 0


@pytest.mark.parametrize("isolation", ["fork", "resident"])
def test_a_system_without_fork_gives_a_one_line_error(isolation: Isolation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    with pytest.raises(UserError, match=f"--isolation {isolation} needs Linux or macOS; use spawn"):
        LocalLauncher(isolation=isolation)
    LocalLauncher(isolation="spawn")


def test_jobs_start_as_new_processes_when_the_fork_server_has_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long() -> None:
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(multiprocessing.forkserver, "ensure_running", too_long)
    launcher = LocalLauncher(isolation="fork")
    assert launcher.ready()
    job = launcher.start(Job((sys.executable, "-m", "this"), tmp_path / "log.txt"))
    assert finish(job).exit_code == 0
    assert "Beautiful is better than ugly" in (tmp_path / "log.txt").read_text()
