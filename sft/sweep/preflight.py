"""Before a sweep starts: have a child process open each distinct data set and tokenizer once.

A wrong column fails in seconds, and only its own experiments. Knows only how to ask; `sft.pipeline` does the opening,
in the child, since it needs the heavy libraries.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sft.config.experiment import Experiment
from sft.io import parse_json, write_json
from sft.launchers.local import bound_to_this_process
from sft.sweep.jobs import config_of


class Checked(NamedTuple):
    """What a check found.

    `problems`: id -> one line, for each experiment that cannot run. `breakdown`: the last lines of a check that itself
    broke down, else empty; the experiments that it did not get to meet their trouble by themselves.
    """

    problems: Mapping[str, str]
    breakdown: str = ""


def check_data(experiments: Sequence[Experiment], plug_folder: Path) -> Checked:
    """What is wrong with the data or tokenizer of each experiment that cannot run."""
    if not experiments:
        return Checked({})
    with tempfile.TemporaryDirectory(prefix="sft-check-") as name:
        request, answer = Path(name) / "request.json", Path(name) / "answer.json"
        write_json(request, {e.id: {"config": config_of(e), "endpoint": e.endpoint} for e in experiments})
        child = subprocess.run(  # noqa: S603 - argv list, no shell
            [sys.executable, "-m", "sft.cli", "check-data", str(request), str(answer), "--plugs", str(plug_folder)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=bound_to_this_process(),
        )
        if child.returncode != 0:
            last_lines = "\n".join(child.stderr.strip().splitlines()[-5:])
            return Checked({}, last_lines or f"exit code {child.returncode}")
        return Checked(**parse_json(answer.read_text(encoding="utf-8")))
