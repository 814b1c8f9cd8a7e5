"""A whole sweep of stub experiments as a process of its own: what is run is `stub_child`, all else is the real thing.

    python stub_sweep.py RESULTS --number 12 --jobs 2 --isolation fork
    python stub_sweep.py serve         # sweeps for each line (JSON) on standard input, without the time of imports

Behaviour of the experiments (named a, b, c, …): see `stub_child`.
"""

# ruff: noqa: T201 - what it prints is its answer
from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stub_child  # noqa: F401 - takes flock away where that is asked for

from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.errors import UserError
from sft.launchers.base import Resources
from sft.log import RedactingStream, configure_logging
from sft.report.comparison import Built
from sft.report.formats.text import render_text
from sft.report.rows import compare
from sft.report.write import write_report
from sft.results.store import ResultStore
from sft.signals import install_handlers
from sft.sweep import command, processes, stopping
from sft.sweep.jobs import Plan, make_plan
from sft.sweep.options import SweepOptions
from sft.sweep.slots import Slot

HERE = Path(__file__).resolve().parent


def plan_of(number: int) -> Plan:
    """So many zero-shot experiments, named by letters."""
    section = {
        "dataset": {"path": "hub/data", "task_type": "classification"},
        "model": {"name": "hub/model"},
        "inference": {},
    }
    configs = {
        name: ExperimentConfig.model_validate(
            {**section, "prompting": {"input_columns": ["text"], "output_column": "label", "instruction": name}}
        )
        for name in "abcdefghijklmnopqrstuvwxyz"[:number]
    }
    return make_plan(Grid(HERE / "grid.jsonnet", configs), None)


def options_of(jobs: int = 2, isolation: str = "fork", limits: Resources | None = None, **more: object) -> SweepOptions:
    """Options of a sweep of stubs."""
    return SweepOptions(
        plug_folder=HERE,
        slots=(Slot(),) * jobs,
        launcher_args={"isolation": isolation},
        limits=limits or Resources(),
        program=(sys.executable, "-m", "stub_child"),
        **more,  # type: ignore[arg-type]
    )


def arguments(given: list[str]) -> argparse.Namespace:
    """Those of `run-experiments` that the tests use."""
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("--number", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--isolation", default="fork")
    parser.add_argument("--timeout", type=float)
    parser.add_argument("--memory", type=int)
    parser.add_argument("--stale-after", type=float, default=900.0)
    parser.add_argument("--grace", type=float)
    parser.add_argument("--retry-failed", action="store_true")
    parser.add_argument("--no-oom-retry", action="store_true")
    parser.add_argument("--preload", nargs="*", default=["stub_child", "stub_sweep"])
    return parser.parse_args(given)


def serve() -> None:
    """Fork sweeps for each line (`times` of the same at once), say their process ids, and how each has ended."""
    for line in sys.stdin:
        request = json.loads(line)
        pids = [forked(request, index) for index in range(request["times"])]
        print(*pids, flush=True)
        print(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids), flush=True)


def forked(request: dict[str, Any], index: int) -> int:
    """The process id of a sweep; several write to several files."""
    pid = os.fork()
    if pid == 0:
        os.environ.update(request["environment"])
        with Path(f"{request['output']}{index or ''}").open("ab") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        main(request["arguments"])
    return pid


def report_of(store: ResultStore, say: Callable[[str], None]) -> int:
    """The report without statistics, in this process: hundreds of sweeps of stubs would wait for libraries."""
    try:
        comparison = compare(store)
        say(render_text(comparison))
        for file in write_report(Built(comparison, {}), ("json", "md")):
            say(f"Report: {file}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def main(words: list[str]) -> None:
    """The sweep, with the exit codes of `run-experiments`."""
    sys.stdout, sys.stderr = RedactingStream(sys.stdout, lossy=True), RedactingStream(sys.stderr, lossy=True)
    configure_logging()
    install_handlers()
    given = arguments(words)
    command.report_of = report_of  # type: ignore[attr-defined]
    processes.preloaded = lambda: tuple(given.preload)  # what the real children need is not needed here
    stopping.SHORT_GRACE_SECONDS = given.grace or stopping.SHORT_GRACE_SECONDS
    limits = Resources(seconds=given.timeout, memory=given.memory)
    more = {"retry_failed": given.retry_failed, "oom_retry": not given.no_oom_retry, "stale_after": given.stale_after}
    plan = plan_of(given.number)
    try:
        sys.exit(
            command.run(plan, plan.experiments, given.results, options_of(given.jobs, given.isolation, limits, **more))
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main(sys.argv[1:])
