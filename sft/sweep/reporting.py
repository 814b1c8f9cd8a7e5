"""Write the report of a sweep in a child process, as statistics need imports that the parent avoids."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from sft.launchers.base import NoProcessError
from sft.launchers.local.spawn import watched
from sft.log import get_logger, plain
from sft.results.store import ResultStore
from sft.secrets import hand_on
from sft.sweep.child import ended_with_us

log = get_logger(__name__)


def report_of(store: ResultStore, print_line: Callable[[str], None]) -> int:
    """Write the report, print the comparison line by line, and return the exit code, which is 1 also after a signal.

    The process writes its errors to standard error.

    Args:
        store: the results folder.
        print_line: called with each line.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - argv list, no shell
            watched((sys.executable, "-m", "sft.cli", "report", "--", str(store.root))),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, **hand_on(), "PYTHONIOENCODING": "utf-8"},
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        reason = NoProcessError.of(error) or error
        log.warning("%s. The report was not written; `report %s` writes it", reason, plain(str(store.root)))
        return 1
    with process, ended_with_us(process):
        for line in process.stdout or ():
            print_line(line.rstrip("\n"))
        code = process.wait()
    if code:
        log.warning("The report is incomplete; `report %s` writes it again", plain(str(store.root)))
    return code if code >= 0 else 1
