"""A sweep of stub experiments in its own process: it runs `stub_child`, everything else is the real code.

    python stub_sweep.py RESULTS --number 12 --jobs 2 --isolation fork
    python stub_sweep.py serve         # sweeps for each JSON line on standard input, without the time for imports

See `stub_child` for the behaviour of the experiments, which are named a, b, c, ….
"""

# ruff: noqa: T201 - its answer is what it prints
from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stub_child  # noqa: F401 - disables flock on request

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
from sft.sweep.planning.jobs import Plan, make_plan
from sft.sweep.planning.options import SweepOptions
from sft.sweep.planning.slots import Slot

HERE = Path(__file__).resolve().parent


def plan_of(number: int) -> Plan:
    """Return a plan of zero-shot experiments, named by letters."""
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
    """Return the options of a stub sweep."""
    return SweepOptions(
        plug_folder=HERE,
        slots=(Slot(),) * jobs,
        launcher_args={"isolation": isolation},
        limits=limits or Resources(),
        program=(sys.executable, "-m", "stub_child"),
        **more,  # type: ignore[arg-type]
    )


def arguments(words: list[str]) -> argparse.Namespace:
    """Parse the options of `run-experiments` that the tests use."""
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
    return parser.parse_args(words)


def serve() -> None:
    """Fork sweeps for each line (`times` equal ones at once), and print their process ids and exit codes."""
    for line in sys.stdin:
        request = json.loads(line)
        pids = [forked(request, index) for index in range(request["times"])]
        print(*pids, flush=True)
        print(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids), flush=True)


def forked(request: dict[str, Any], index: int) -> int:
    """Fork a sweep and return its process id. Each of several sweeps writes to its own file."""
    pid = os.fork()
    if pid == 0:
        os.environ.update(request["environment"])
        with Path(f"{request['output']}{index or ''}").open("ab") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        main(request["arguments"])
    return pid


def report_of(store: ResultStore, print_line: Callable[[str], None]) -> int:
    """Write the report without statistics, in this process. Hundreds of stub sweeps would wait for imports."""
    try:
        comparison = compare(store)
        print_line(render_text(comparison))
        for file in write_report(Built(comparison, {}), ("json", "md")):
            print_line(f"Report: {file}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def main(words: list[str]) -> None:
    """Run the sweep and exit with the code of `run-experiments`."""
    sys.stdout, sys.stderr = RedactingStream(sys.stdout, lossy=True), RedactingStream(sys.stderr, lossy=True)
    configure_logging()
    install_handlers()
    args = arguments(words)
    command.report_of = report_of  # type: ignore[attr-defined]
    processes.preloaded = lambda: tuple(args.preload)  # the stubs need no other modules
    stopping.SHORT_GRACE_SECONDS = args.grace or stopping.SHORT_GRACE_SECONDS
    limits = Resources(seconds=args.timeout, memory=args.memory)
    more = {"retry_failed": args.retry_failed, "oom_retry": not args.no_oom_retry, "stale_after": args.stale_after}
    plan = plan_of(args.number)
    try:
        sys.exit(
            command.run(plan, plan.experiments, args.results, options_of(args.jobs, args.isolation, limits, **more))
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main(sys.argv[1:])
