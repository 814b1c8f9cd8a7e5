"""Every disk access fails once: files are old or new, never in between, and the same command then completes.

`fault.c` creates the faults. It is compiled here and preloaded.
"""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stub_rounds import HERE, Server, environment, output_of, report_of, start_sweep

CALLS_OF_A_WRITE = {"open", "write", "fsync", "close", "rename"}
# Files whose failures do not harm the run: its state, the check of the folder, its lock.
HARMLESS = ("state.json", ".locks", "config.json", "plan.json", "log.txt")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile `fault.c` and return the library."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler, or not Linux: faults cannot be preloaded")
    target = tmp_path_factory.mktemp("fault") / "fault.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(HERE / "fault.c"), "-ldl"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        pytest.skip(f"the compiler cannot build it: {answer.stderr[-200:]}")
    return target


@pytest.fixture
def attempts(library: Path, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    def run(what: str, number: int, sticky: bool) -> list[dict[str, Any]]:
        command = [sys.executable, str(HERE / "stub_faults.py"), what, str(tmp_path / "it"), str(number), str(+sticky)]
        variables = environment(LD_PRELOAD=str(library), STUB_SECONDS="0")
        answer = subprocess.run(command, capture_output=True, text=True, env=variables, check=False, timeout=300)
        assert answer.returncode == 0, answer.stderr
        return [json.loads(line) for line in answer.stdout.splitlines()]

    return run


@pytest.mark.parametrize(
    ("number", "sticky"),
    [
        (errno.ENOSPC, False),
        (errno.EIO, True),
        pytest.param(errno.ENOSPC, True, marks=pytest.mark.long),
        pytest.param(errno.EIO, False, marks=pytest.mark.long),
    ],
)
def test_a_file_is_old_or_new_at_every_fault(
    attempts: Callable[..., list[dict[str, Any]]], number: int, sticky: bool
) -> None:
    answers = attempts("write", number, sticky)
    assert {write["fault"].split()[0] for answer in answers for write in answer.values()} == CALLS_OF_A_WRITE
    for name, write in ((name, write) for answer in answers for name, write in answer.items()):
        assert write["held"] in ("old", "new"), write
        assert write["code"] != 0, write
        assert f"{name}.txt" in write["output"], "the path is named"
        assert (write["again"], write["left"]) == (0, []), write


@pytest.mark.parametrize(
    ("number", "sticky"),
    [
        (errno.EIO, False),
        pytest.param(errno.ENOSPC, True, marks=pytest.mark.long),
        pytest.param(errno.ENOSPC, False, marks=pytest.mark.long),
    ],
)
def test_a_run_is_complete_or_not_done_at_every_fault(
    attempts: Callable[..., list[dict[str, Any]]], number: int, sticky: bool
) -> None:
    answers = attempts("run", number, sticky)
    assert len(answers) > 30
    for answer in answers:
        fault = answer["fault"].splitlines()[0]
        assert answer["held"] in ("none", "whole"), answer
        assert "Traceback" not in answer["output"], answer
        if answer["code"] == 0:
            assert answer["held"] == "whole", answer
            reported = "state.json" in answer["output"]  # syncing the folder names no file
            assert sticky or reported or any(name in fault for name in HARMLESS) or fault.endswith("/it"), answer
        else:
            assert answer["code"] == 2, answer
            assert "/it" in answer["output"].split("error: ")[1], "the path is named"
        assert (answer["again"], answer["then"], answer["left"]) == (0, "whole", []), answer


@pytest.fixture(scope="module")
def server(library: Path) -> Iterator[Server]:
    server = Server(environment(LD_PRELOAD=str(library)))
    yield server
    server.close()


def faulty_sweep(server: Server, folder: Path, at: int, number: int, sticky: bool) -> tuple[int, str, bool]:
    """Run a sweep of three whose Nth disk access fails; return exit code, output, and whether there was a fault."""
    results, faults = folder / f"results-{at}", folder / f"faults-{at}"
    results.mkdir(exist_ok=True)
    variables = {
        "FAULT_FOLDER": str(results), "FAULT_AT": str(at), "FAULT_ERRNO": str(number),
        "FAULT_LAST": "1" if sticky else "", "FAULT_COUNT": str(folder / f"count-{at}"), "FAULT_LOG": str(faults),
    }  # fmt: skip
    code = server.start(results, ["--number", "3", "--jobs", "2"], variables).wait(60)
    return code, output_of(results).read_text(), faults.exists()


def check_sweeps(server: Server, folder: Path, steps: Iterator[int], number: int, sticky: bool) -> int:
    """Run sweeps with faults and return the number of faults; fail on the first harmful one."""
    plain = server.start(folder / "plain", ["--number", "3"], {})
    assert plain.wait(60) == 0
    expected, times = report_of(folder / "plain"), 0
    for at in steps:
        code, output, failed = faulty_sweep(server, folder, at, number, sticky)
        results = folder / f"results-{at}"
        if not failed:
            break
        times += 1
        assert "Traceback" not in output, output
        assert code in (0, 1, 2), output
        if code != 0:
            assert str(results) in output, "the path is named"
        else:
            assert report_of(results) == expected
        again = server.start(results, ["--number", "3", "--jobs", "2", "--retry-failed"], {"FAULT_AT": ""})
        assert again.wait(60) == 0, output_of(results).read_text()
        assert report_of(results) == expected
        assert not list(results.glob("runs/*/.*")), at
        assert not list(results.glob(".locks/*")), at
    return times


@pytest.mark.parametrize(
    ("number", "sticky", "step"),
    [
        (errno.ENOSPC, True, 60),
        pytest.param(errno.ENOSPC, True, 4, marks=pytest.mark.long),
        pytest.param(errno.EIO, False, 4, marks=pytest.mark.long),
    ],
)
def test_a_sweep_survives_faults(tmp_path: Path, server: Server, number: int, sticky: bool, step: int) -> None:
    (tmp_path / "plain").mkdir()
    times = check_sweeps(server, tmp_path, iter(range(1 + step // 2, 1000, step)), number, sticky)
    assert times > 100 / step


def test_a_full_disk_truncates_nothing_and_the_next_run_completes(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "stub_full.py"), str(tmp_path / "results")]
    for prefix in ([], ["unshare", "-rm"]):
        if prefix and shutil.which("unshare") is None:
            continue
        answer = subprocess.run(
            [*prefix, *command], capture_output=True, text=True, env=environment(), check=False, timeout=120
        )
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
        if answer.returncode == 0:
            break
    else:
        pytest.skip(f"no file system can be mounted here: {answer.stderr.strip()[-200:]}")
    full, free = json.loads(answer.stdout.splitlines()[-1])
    assert full["code"] in (1, 2), full["output"]
    assert full["done"] < 4
    assert (full["broken"], free["broken"]) == ([], [])
    assert "No space left on device" in full["output"]
    assert "Traceback" not in full["output"] + free["output"]
    assert (free["code"], free["done"]) == (0, 4), free["output"]


def test_damaged_and_foreign_results_are_quarantined_reported_and_run_again(tmp_path: Path) -> None:
    """`a` is truncated, `b` has one flipped bit, `c` is the valid result of `d`, which stays."""
    results = tmp_path / "results"
    first = start_sweep(results, "--number", "4")
    first.communicate(timeout=60)
    assert first.returncode == 0
    expected = report_of(results)
    files = {path.parent.name[0]: path for path in results.glob("runs/*/result.json")}
    whole = files["b"].read_bytes()
    files["a"].write_bytes(files["a"].read_bytes()[:-1])
    files["b"].write_bytes(whole[:300] + bytes([whole[300] ^ 4]) + whole[301:])
    files["c"].write_bytes(files["d"].read_bytes())
    kept = files["d"].stat().st_mtime_ns
    again = start_sweep(results, "--number", "4")
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output
    moved = sorted(path.name[0] for path in (results / "quarantine").iterdir())
    assert moved == ["a", "b", "c"]
    assert output.count("is damaged") == 3, output
    for path in (results / "quarantine").iterdir():
        assert str(path) in output
    assert report_of(results) == expected
    assert files["d"].stat().st_mtime_ns == kept
