"""The report of a sweep, made by a process of its own: statistics bring libraries that the parent does without."""

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


def report_of(store: ResultStore, say: Callable[[str], None]) -> int:
    """Have the report written, and say the comparison line by line; the exit code: 1 too where a signal ended it.

    What went wrong stands on standard error, by that process's own word.

    Args:
        store: the results folder.
        say: told each line.
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
        what = NoProcessError.of(error) or error
        log.warning("%s. The report was not written; `report %s` writes it", what, plain(str(store.root)))
        return 1
    with process, ended_with_us(process):
        for line in process.stdout or ():
            say(line.rstrip("\n"))
        code = process.wait()
    if code:
        log.warning("The report is not whole; `report %s` makes it again", plain(str(store.root)))
    return code if code >= 0 else 1
