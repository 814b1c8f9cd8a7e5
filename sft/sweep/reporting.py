"""The report of a sweep, made by a process of its own: statistics bring libraries that the parent does without."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from sft.log import get_logger
from sft.results.store import ResultStore
from sft.secrets import hand_on

log = get_logger(__name__)


def report_of(store: ResultStore, say: Callable[[str], None]) -> int:
    """Have the report written, and say the comparison line by line; the exit code of the process.

    What went wrong stands on standard error, by that process's own word.

    Args:
        store: the results folder.
        say: told each line.
    """
    command = [sys.executable, "-m", "sft.cli", "report", str(store.root)]
    environment = {**os.environ, **hand_on(), "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, encoding="utf-8") as process:  # noqa: S603
        for line in process.stdout or ():
            say(line.rstrip("\n"))
    if process.returncode:
        log.warning("The report was not finished; `report %s` tries it again", store.root)
    return process.returncode
