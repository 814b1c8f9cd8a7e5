"""Measure how threads wait: the cost of sleeping immediately on an idle machine, and the gain on a busy one.

    python scripts/bench/threads.py [--pairs N] [--policy NAME=VALUE …] [--json FILE]

It trains the demo and scores its test rows, in two processes that differ only in the policy and take turns, so that
other load affects both. The machine is idle, then runs a process that keeps a processor busy. The figures are the
seconds of training and scoring in the result, and the median of the ratios within each pair.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from record import write_section

from sft.processors import usable_processors
from sft.threads import POLICY

REPOSITORY = Path(__file__).resolve().parent.parent.parent
DEMO = REPOSITORY / "etc" / "configs" / "json" / "demo.json"
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
BEFORE, AFTER, ONE = WAYS = ("library's own", "ours", "one thread")
TITLES = {"idle": "idle", "busy": "beside one busy process"}
STEPS = {"idle": 10, "busy": 2}  # per training; with spinning threads, a step beside a busy process takes many seconds
TEST_ROWS = 60


class Worker:
    """A process with the libraries loaded, which trains on request.

    Args:
        variables: environment variables.
        threads: number of threads.
    """

    def __init__(self, variables: dict[str, str], threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**{name: value for name, value in os.environ.items() if name not in VARIABLES}, **variables},
            text=True,
        )

    def seconds(self, steps: int) -> float:
        """Return the seconds of a training with some steps and the scoring of the test rows."""
        if self._process.stdin is None or self._process.stdout is None:
            raise OSError("a process started without its pipes")
        print(steps, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def work(threads: int) -> None:
    """Train for each line on standard input and print the seconds. Runs in a worker."""
    import torch

    from sft import pipeline
    from sft.config.experiment import Experiment
    from sft.config.reading.load import parse_config
    from sft.results.store import ResultStore

    torch.set_num_threads(threads)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    config = json.loads(DEMO.read_text(encoding="utf-8"))
    config["dataset"]["max_n_test"] = TEST_ROWS
    for line in sys.stdin:
        config["training"]["trainer_args"]["max_steps"] = int(line)
        experiment = Experiment("bench", parse_config(config, str(DEMO), DEMO.parent), 13, "run-experiment")
        with tempfile.TemporaryDirectory(prefix="sft-bench-") as folder:
            result = pipeline.run(experiment, ResultStore(Path(folder)).folder(experiment.id, "bench"))
        print(result.timings["train"] + result.timings["answer"], file=answers, flush=True)


@contextmanager
def busy_process(busy: bool) -> Iterator[None]:
    """Keep a processor busy inside, if `busy`."""
    if not busy:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(workers: dict[str, Worker], pairs: int, steps: int) -> dict[str, list[float]]:
    """Return the seconds of each worker, measured in turn in alternating order."""
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(pairs):
        for name in list(workers)[:: 1 if number % 2 else -1]:
            seconds[name].append(round(workers[name].seconds(steps), 3))
            print(f"{name}: {seconds[name][-1]} s", flush=True)
    return seconds


def figures(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians and ranges, and the median of the ratios within each pair."""
    report: dict[str, Any] = {
        name: {"median_s": round(statistics.median(all_of), 2), "least_s": min(all_of), "most_s": max(all_of)}
        for name, all_of in seconds.items()
    }
    ratios = [after / before for before, after in zip(seconds[BEFORE], seconds[AFTER], strict=True)]
    return {**report, "ratio": round(statistics.median(ratios), 3), "ratios": [round(ratio, 3) for ratio in ratios]}


def table(report: dict[str, Any]) -> list[str]:
    """Return the figures as Markdown."""
    lines = [f"| machine | {BEFORE} | {AFTER} | ratio of the two | {ONE} |", "|" + " --- |" * 5]
    for name in ("idle", "busy"):
        figure = report[name]
        ways = [figure[way] for way in WAYS]
        cells = [f"{way['median_s']} ({way['least_s']:.1f} to {way['most_s']:.1f})" for way in ways]
        title = f"{TITLES[name]}, {STEPS[name]} steps"
        lines.append(f"| {title} | {cells[0]} | {cells[1]} | {figure['ratio']} | {cells[2]} |")
    policy = ", ".join(f"`{name}={value}`" for name, value in report["policy"].items())
    return [
        *lines,
        "",
        f"Seconds of training the demo and scoring {TEST_ROWS} test rows with {report['threads']} threads: median "
        f"(range). Processes take turns; the ratio is the median of {len(report['idle']['ratios'])} pairs, beside a "
        f"busy process of {len(report['busy']['ratios'])}. Ours: {policy}. The library's own: GNU's OpenMP spins "
        "300,000 times before a thread sleeps.",
    ]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--worker", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    parser.add_argument(
        "--pairs", type=int, default=5, help="pairs of trainings on an idle machine (default: 5); 3 on a busy one"
    )
    parser.add_argument(
        "--policy", nargs="+", metavar="NAME=VALUE", help="measure this policy instead; RESULTS.md is not changed"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
        return
    policy = dict(text.split("=", 1) for text in options.policy) if options.policy else dict(POLICY)
    report: dict[str, Any] = {"policy": policy}
    threads = report["threads"] = max(2, usable_processors())
    workers = {BEFORE: Worker({}, threads), AFTER: Worker(policy, threads), ONE: Worker({}, 1)}
    for worker in workers.values():
        worker.seconds(2)  # warm-up
    for name in ("idle", "busy"):
        with busy_process(name == "busy"):
            report[name] = figures(measure(workers, options.pairs if name == "idle" else 3, STEPS[name]))
    for worker in workers.values():
        worker.close()
    print("\n".join(table(report)))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if not options.policy:
        write_section("Threads that wait", table(report))


if __name__ == "__main__":
    main()
