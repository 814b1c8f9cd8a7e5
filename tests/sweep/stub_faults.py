"""Run something repeatedly while its first, second, third … disk access fails; to be run under `fault.c`.

    LD_PRELOAD=fault.so python stub_faults.py write|run FOLDER ERRNO STICKY

`write` tests the ways to write a file, `run` a whole stub experiment. It prints a JSON line per attempt, until an
attempt ends before its fault.
"""

# ruff: noqa: T201 - its answer is what it prints
from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stub_child
from stub_sweep import plan_of

from sft.io import write_atomic, write_json
from sft.results.sealed import seal
from sft.results.store import ResultStore
from sft.sweep.planning.jobs import config_of

OLD, NEW = "old", "new" * 5000
WRITERS: dict[str, Callable[[Path], None]] = {
    "atomic": lambda path: write_atomic(path, NEW),
    "json": lambda path: write_json(path, {"text": NEW}),
    "sealed": lambda path: write_atomic(path, seal({"text": NEW})),
}


def attempt(command: Callable[[], None], output: Path) -> int:
    """Run a command in its own process and return its exit code."""
    pid = os.fork()
    if pid == 0:
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        code = 0
        try:
            command()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            code = 99
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def faulty(folder: Path, at: int, number: int, sticky: bool) -> Path:
    """Set the call that fails, and return the log of failed calls."""
    count, faults = folder.with_name("count"), folder.with_name("faults")
    for file in (count, faults):
        file.unlink(missing_ok=True)
    os.environ.update(
        FAULT_FOLDER=str(folder), FAULT_AT=str(at), FAULT_ERRNO=str(number), FAULT_LAST="1" if sticky else "",
        FAULT_COUNT=str(count), FAULT_LOG=str(faults),
    )  # fmt: skip
    return faults


def writes(folder: Path, at: int) -> dict[str, Any] | None:
    """Overwrite an old file in each way, once."""
    answer: dict[str, Any] = {}
    number, sticky = int(sys.argv[3]), sys.argv[4] == "1"
    for name, write in WRITERS.items():
        file = folder / f"{name}.txt"
        file.write_text(OLD)
        faults = faulty(folder, at, number, sticky)
        code = attempt(lambda file=file, write=write: write(file), folder.with_name("output"))  # type: ignore[misc]
        os.environ.pop("FAULT_AT")
        if not faults.exists():
            return None
        text, output = file.read_text(), folder.with_name("output").read_text()
        again = attempt(lambda file=file, write=write: write(file), folder.with_name("output"))  # type: ignore[misc]
        answer[name] = {
            "code": code, "fault": faults.read_text(), "output": output, "again": again,
            "held": "old" if text == OLD else "new" if NEW in text else text[:100],
            "left": sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) if not sticky else [],
        }  # fmt: skip
        faults.unlink()
    return answer


def runs(folder: Path, at: int) -> dict[str, Any] | None:
    """Run a whole experiment in a new results folder, then again without a fault."""
    number, sticky = int(sys.argv[3]), sys.argv[4] == "1"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (experiment,) = plan_of(1).experiments
    config = folder.with_name("config.json")
    config.write_text(json.dumps(config_of(experiment)))
    sys.argv[1:] = [
        "run-experiment", str(config), "--do-eval", "--results-path", str(folder), "--plugs", str(config.parent),
        "--halvings", "0", str(number), "1" if sticky else "0",
    ]  # fmt: skip
    run = ResultStore(folder).folder(experiment.id, experiment.slug)
    faults = faulty(folder, at, number, sticky)
    code = attempt(stub_child.main, folder.with_name("output"))
    os.environ.pop("FAULT_AT")
    if not faults.exists():
        return None
    output = folder.with_name("output").read_text()
    held = "none" if not run.result_file.exists() else "whole" if run.result() is not None else "broken"
    again = attempt(stub_child.main, folder.with_name("output2"))
    state = run.state()
    return {
        "code": code, "fault": faults.read_text(), "output": output, "held": held, "again": again,
        "output2": folder.with_name("output2").read_text(),
        "then": "whole" if run.result() is not None else "no", "state": state.state if state else "",
        "left": sorted(str(path) for path in folder.rglob(".*.tmp")),
    }  # fmt: skip


def main() -> None:
    """Run all attempts."""
    command, folder, number, sticky = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    folder.mkdir(parents=True, exist_ok=True)
    for at in range(1, 1000):
        sys.argv[1:] = [command, str(folder), number, sticky]
        answer = writes(folder, at) if command == "write" else runs(folder, at)
        if answer is None:
            return
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
