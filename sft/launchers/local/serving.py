"""In a process that outlives its jobs: what is asked for on standard input, one after the other. See `resident.py`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence

from sft.launchers.local.streams import redirect


def serve(run: Callable[[Sequence[str]], int], is_fit: Callable[[], bool]) -> int:
    """Run each request, `{"argv", "environment"}` on a line, and answer `{"exit_code", "fit"}`.

    Ends when no more can come, and after a job that failed or that `is_fit` has doubts about: a fresh process is
    cheaper than a wrong figure. Returns the last job's exit code.

    Args:
        run: does what the arguments of a command say; its exit code.
        is_fit: whether this process may take another job.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    requests = os.fdopen(os.dup(0), encoding="utf-8")  # a job that reads its standard input must not eat them
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
