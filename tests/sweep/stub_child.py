"""Stub for `python -m sft.cli` in a sweep: it writes run folders, states and locks, but does no work.

    python -m stub_child run-experiment CONFIG --do-eval --results-path R --plugs P --halvings N
    python -m stub_child check-data REQUEST ANSWER --plugs P
    python -m stub_child serve         # the first of these for each request on standard input

The variable STUB sets the behaviour of experiments: JSON of experiment name -> behaviour. Others simply succeed.
STUB_AUDIT is a file that records which process wrote which result, STUB_SECONDS the duration of each experiment.
STUB_HEARTBEATS disables flock and is the seconds between heartbeats of markers; STUB_HOST is the host's name.
"""

# ruff: noqa: T201 - its answer is what it prints
from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from sft.config.experiment import Experiment
from sft.errors import UserError
from sft.io import write_json
from sft.launchers.local.serving import serve
from sft.log import configure_logging
from sft.memory import halved
from sft.results import markers
from sft.results.recording import recording
from sft.results.schema import RunResult
from sft.results.store import ResultStore, RunFolder
from sft.signals import checkpointing, install_handlers, requested
from sft.sweep.single import held, load_experiment

FOREVER = 600


def no_flock(*_: object) -> None:
    """Fail as on a file system without locks."""
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


if "STUB_HEARTBEATS" in os.environ:
    fcntl.flock = no_flock
    markers.SECONDS_BETWEEN_HEARTBEATS = float(os.environ["STUB_HEARTBEATS"])
if "STUB_HOST" in os.environ:
    socket.gethostname = lambda: os.environ["STUB_HOST"]


def audit(word: str, *more: object) -> None:
    """Append a line for the test's checks, outside of the results."""
    if path := os.environ.get("STUB_AUDIT"):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, (" ".join(map(str, (word, *more, os.getpid()))) + "\n").encode())
        os.close(handle)


def result_of(experiment: Experiment) -> RunResult:
    """Return a result that depends only on the experiment."""
    number = int(hashlib.sha256(experiment.id.encode()).hexdigest()[:6], 16) / 2**24
    return RunResult(
        name=experiment.name, id=experiment.id, recipe_id=experiment.recipe_id, seed=experiment.seed,
        endpoint=experiment.endpoint, config=experiment.config.model_dump(mode="json", exclude_defaults=True),
        results={"accuracy": round(number, 6)}, shots={}, labelled_examples=0, training={},
        timings={"total": time.perf_counter()}, resources={}, environment={}, data={},
    )  # fmt: skip


def behave(what: str, halvings: int) -> None:
    """Simulate the requested behaviour of an experiment."""
    if what.startswith("hang"):
        hang(family="family" in what)
    if what == "eat":
        eaten = bytearray(400 * 2**20)
        time.sleep(FOREVER)
        del eaten
    if what.startswith("oom") and halvings < int(what.removeprefix("oom")):
        raise MemoryError("no memory for the batch")
    if what == "save":
        with checkpointing():
            while requested() is None:
                time.sleep(0.01)
            time.sleep(1.0)
            audit("saved", requested())
    if what == "wait":
        time.sleep(FOREVER)
    if what == "crash":
        raise RuntimeError("the bottom fell out")
    if what == "wrong":
        raise UserError("no such column")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "die 137":
        os._exit(137)


def hang(family: bool) -> None:
    """Ignore all signals, and start children that do too, one of them in its own session."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # children inherit this
    if family:
        for elsewhere in (False, True):
            child = subprocess.Popen(["sleep", str(FOREVER)], start_new_session=elsewhere)
            audit("child", child.pid)
    audit("hangs")
    time.sleep(FOREVER)


def work(experiment: Experiment, folder: RunFolder, halvings: int) -> None:
    """Simulate a run, from the first state to the result."""
    with halved(halvings), recording(folder) as progress:
        progress("train", 0, 2)
        audit("begin", experiment.id)
        behave(json.loads(os.environ.get("STUB", "{}")).get(experiment.name, ""), halvings)
        time.sleep(float(os.environ.get("STUB_SECONDS", "0.01")))
        progress("test", 1, 2, "accuracy 0.5")
        folder.write_predictions({"text": ["a", "b"], "predictions": ["x", "y"]})
        folder.write_shots({})
        if folder.result() is not None:
            audit("twice", experiment.id)
        folder.write_result(result_of(experiment))
        audit("accepted", experiment.id)


def run_experiment(config: Path, results: Path, plugs: Path, halvings: int) -> None:
    """Run an experiment like `sft.cli`."""
    experiment = load_experiment(config, "run-experiment", None, plugs)
    with held(ResultStore(results), experiment) as folder:
        if folder.result() is None:
            work(experiment, folder, halvings)


def run_command(words: Sequence[str]) -> int:
    """Run a command and return the exit code of the real one."""
    command, *rest = words
    try:
        if command == "check-data":
            if os.environ.get("STUB_CHECK") == "hang":
                hang(family=True)
            write_json(Path(rest[1]), {"problems": {}, "breakdown": ""})
        else:
            values = {name: rest[rest.index(name) + 1] for name in ("--results-path", "--plugs", "--halvings")}
            paths = Path(rest[0]), Path(values["--results-path"]), Path(values["--plugs"])
            run_experiment(*paths, int(values["--halvings"]))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """Run the command of the arguments, or serve requests."""
    configure_logging()
    install_handlers()
    sys.exit(serve(run_command, lambda: True) if sys.argv[1:] == ["serve"] else run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
