"""Run the jobs requested on standard input one after the other, in a process that outlives them. See `resident.py`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence

from sft.launchers.local.streams import redirect


def serve(run: Callable[[Sequence[str]], int], is_fit: Callable[[], bool]) -> int:
    """Run each request, `{"argv", "environment"}` on a line, and answer `{"exit_code", "fit"}`.

    It ends when standard input ends, after a job that failed, and when `is_fit` returns False: a new process is cheaper
    than a wrong figure.

    Args:
        run: runs a command with the given arguments and returns its exit code.
        is_fit: returns whether this process may run another job.

    Returns:
        The exit code of a failed or unfit last job, else 0.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    requests = os.fdopen(os.dup(0), encoding="utf-8")  # a job that reads its standard input must not consume requests
    redirect(2)
    for line in iter(requests.readline, ""):
        request = json.loads(line)
        os.environ.update(request["environment"])
        code = run(request["argv"])
        for name in request["environment"]:
            os.environ.pop(name, None)
        sys.stdout.flush()
        sys.stderr.flush()
        fit = code == 0 and is_fit()
        answers.write(json.dumps({"exit_code": code, "fit": fit}) + "\n")
        answers.flush()
        if not fit:
            return code
    return 0
