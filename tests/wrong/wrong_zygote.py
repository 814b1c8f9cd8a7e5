"""Run a command for each config, in a process forked from one that has the libraries: `zygote.py REQUEST ANSWER`.

The request is a list of `[folder, argv]`; the answer a list of `[exit code, stderr, seconds]`, with exit code None for
a command that was ended after LONGEST seconds.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

LONGEST = 60.0


class Answer(NamedTuple):
    """The outcome of one command; no exit code if it was stopped after LONGEST seconds."""

    code: int | None
    stderr: str
    seconds: float


def ask(root: Path, commands: Sequence[tuple[Path, list[str]]]) -> list[Answer]:
    """Run commands, each in its folder, all forked from one new process.

    Args:
        root: a folder for the question and the answer.
        commands: the working directory and the arguments of each.
    """
    request, answer = root / "request.json", root / "answer.json"
    request.write_text(json.dumps([[str(folder), argv] for folder, argv in commands]), encoding="utf-8")
    subprocess.run([sys.executable, __file__, str(request), str(answer)], check=True, timeout=3000)
    return [Answer(*one) for one in json.loads(answer.read_text(encoding="utf-8"))]


def one(folder: str, argv: list[str]) -> int:
    """Fork, run a command in its folder, and return the process id."""
    if (pid := os.fork()) != 0:
        return pid
    os.chdir(folder)
    os.setsid()
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    from sft.cli import main as cli

    sys.argv = ["sft", *argv]
    try:
        cli.main()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 99)
    os._exit(98)


def main() -> None:
    """Import what the commands need, then run them one after the other."""
    from sft import pipeline  # noqa: F401
    from sft.training.methods import sft  # noqa: F401

    gc.collect()
    gc.freeze()  # collections in the forked processes need not visit the libraries' objects
    request, answer = map(Path, sys.argv[1:])
    answers = []
    for folder, argv in json.loads(request.read_text()):
        begun = time.monotonic()
        pid, code = one(folder, argv), None
        while time.monotonic() - begun < LONGEST:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                break
            time.sleep(0.01)
        else:
            os.killpg(pid, 9)
            os.waitpid(pid, 0)
        answers.append([code, (Path(folder) / "stderr").read_text(errors="replace"), time.monotonic() - begun])
        answer.write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
