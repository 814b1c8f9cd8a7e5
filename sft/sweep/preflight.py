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

from sft.config.experiment import Experiment
from sft.io import parse_json, write_json
from sft.log import get_logger
from sft.sweep.jobs import config_of

log = get_logger(__name__)


def check_data(experiments: Sequence[Experiment], plug_folder: Path) -> Mapping[str, str]:
    """What is wrong with the data or tokenizer of each experiment that cannot run: id -> one line.

    When the child itself breaks down, nothing is known to be wrong: each experiment then meets its trouble by itself.
    """
    if not experiments:
        return {}
    with tempfile.TemporaryDirectory(prefix="sft-check-") as name:
        request, answer = Path(name) / "request.json", Path(name) / "answer.json"
        write_json(request, {e.id: {"config": config_of(e), "endpoint": e.endpoint} for e in experiments})
        child = subprocess.run(  # noqa: S603 - argv list, no shell
            [sys.executable, "-m", "sft.cli", "check-data", str(request), str(answer), "--plugs", str(plug_folder)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if child.returncode != 0:
            last_lines = "\n".join(child.stderr.strip().splitlines()[-5:])
            log.warning("Checking the data first did not work, starting without:\n%s", last_lines)
            return {}
        problems: dict[str, str] = parse_json(answer.read_text(encoding="utf-8"))
        return problems
