"""Measure a report of many runs: 1,000 runs with 3,000 test rows each, read, compared and written.

    python scripts/bench/report.py [--runs 1000] [--rows 3000] [--seeds 3] [--keep FOLDER] [--json FILE] [--record]

The runs are simulated: a classifier of three labels that gets better with more shots, with a results folder as large as
a real one (half a gigabyte, in the temporary folder unless kept). `report` runs in its own process: wall and CPU
seconds, peak memory. Reading and comparing are also measured separately. One thread. With `--studies 2500` it also
counts, in as many simulated studies of each kind, how often intervals cover the truth and tests report differences that
do not exist (tests/report/statistics/studies.py). `--record` writes the section of RESULTS.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported, here and in measured processes
sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "report" / "statistics"))

import numpy as np
from numpy.typing import NDArray
from record import write_section
from scale import COMMAND, LABELS, made_up_result, measure, write_grid

from sft.config.experiment import Experiment
from sft.report.statistics.sums import calibration_l1, confusion, means
from sft.results.schema import RunState
from sft.results.sealed import seal
from sft.results.store import RunFolder
from sft.sweep.planning.check import load_plan
from sft.sweep.planning.jobs import config_of, write_plan

PACKAGES = ("numpy", "scipy", "pyarrow")
READ_AND_COMPARE = """
from pathlib import Path
from sft.report.read.answers import answers_of
from sft.report.compared.outcomes import outcomes_of
from sft.report.rows import compare
from sft.report.compared.assess import assess
from sft.results.store import ResultStore
comparison = compare(ResultStore(Path({results!r})))
outcomes = {{(run.id, "test"): outcomes_of(answers_of(run)) for run in comparison.runs}}
found = assess(comparison, outcomes)
assert len(found.runs) >= 8 * len(comparison.runs), len(found.runs)
"""


class Rows:
    """The test rows of all runs.

    Args:
        number: number of rows.
    """

    def __init__(self, number: int) -> None:
        chance = random.Random(7)
        words = [f"{chance.choice('bcdfglmnprst')}{chance.choice('aeiou')}{n % 97}" for n in range(400)]
        self.label_N = np.arange(number) % len(LABELS)
        self.hard_N = np.random.default_rng(7).random(number)
        self.prefixes = [f"{' '.join(chance.choices(words, k=18))}\t{LABELS[label]}" for label in self.label_N.tolist()]


def answer(rows: Rows, rate: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return probabilities [N, L] of a run with about this accuracy, mostly on the rows that are easy for all runs."""
    right_N = 0.6 * rows.hard_N + 0.4 * rng.random(len(rows.hard_N)) < rate
    chosen_N = np.where(right_N, rows.label_N, (rows.label_N + rng.integers(1, 3, len(right_N))) % len(LABELS))
    raw_NL = rng.random((len(right_N), len(LABELS))) * 0.8 + 0.01
    raw_NL[np.arange(len(right_N)), chosen_N] += 1
    return np.asarray(raw_NL / raw_NL.sum(axis=1, keepdims=True), dtype=np.float64)


def fill_run(folder: Path, experiment: Experiment, rows: Rows, chance: random.Random) -> None:
    """Write all files of a finished run."""
    folder.mkdir(parents=True)
    shots = experiment.config.dataset.shots
    rate = 0.45 + 0.03 * np.log2(float(shots if isinstance(shots, int) else 8)) + 0.03 * chance.random()
    given_NL = answer(rows, rate, np.random.default_rng(chance.getrandbits(32))).round(6)
    given_N = given_NL.argmax(axis=1)
    keys = [f'""{label}"": ' for label in LABELS]
    cells = [
        f'"{{{", ".join(f"{key}{p:.6g}" for key, p in zip(keys, row, strict=True))}}}"' for row in given_NL.tolist()
    ]
    lines = [f"{prefix}\t{LABELS[n]}\t{p}" for prefix, n, p in zip(rows.prefixes, given_N.tolist(), cells, strict=True)]
    (folder / "predictions.tsv").write_text("\n".join(["text\tlabel_text\tpredictions\tprobabilities", *lines, ""]))
    RunFolder(folder).write_scores(
        {"sum_logprob": np.log(given_NL).astype(np.float32), "label": rows.label_N.astype(np.int64)}
    )
    result = made_up_result(experiment, chance)
    own_N = given_NL[np.arange(len(given_N)), rows.label_N]
    right_N = given_N == rows.label_N
    metrics: dict[str, Any] = {
        **confusion(rows.label_N, given_N, len(LABELS)).values(),
        **means({
            "accuracy": right_N, "log_loss": -np.log(own_N), "brier": (given_NL**2).sum(axis=1) - 2 * own_N + 1,
        }).values(),
        **calibration_l1(given_NL.max(axis=1), right_N, 15).values(),
        "auroc": chance.random(),
        "support": dict(zip(LABELS, np.bincount(rows.label_N).tolist(), strict=True)),
    }  # fmt: skip
    result = result.model_copy(update={"results": metrics, "data": {**result.data, "rows": {"test": len(given_N)}}})
    state = RunState(state="done", started=1.0, updated=31.0, pid=1, host="host")
    (folder / "result.json").write_text(seal(result.model_dump(mode="json")), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config_of(experiment), indent=2), encoding="utf-8")
    (folder / "state.json").write_text(state.model_dump_json(indent=2), encoding="utf-8")
    (folder / "log.txt").write_text("\n".join(f"step {n}: loss 0.{n:03d}" for n in range(100)), encoding="utf-8")


def fill(folder: Path, runs: int, rows: int, seeds: int) -> Path:
    """Write the results folder of a simulated sweep."""
    from sft.results.store import ResultStore

    folder.mkdir(parents=True, exist_ok=True)
    grid, results = folder / "grid.json", folder / "results"
    write_grid(grid, runs, seeds)
    plan, chance, test_rows = load_plan(grid, None, "run-experiment", 1_000_000), random.Random(13), Rows(rows)
    for experiment in plan.experiments:
        fill_run(results / "runs" / experiment.folder_name, experiment, test_rows, chance)
    write_plan(plan, ResultStore(results))
    return results


def measure_report(folder: Path, runs: int, rows: int, seeds: int) -> dict[str, Any]:
    """Return the figures of a report on `folder`, which is filled first unless it exists."""
    results = folder / "results"
    if not results.exists():
        start = time.perf_counter()
        fill(folder, runs, rows, seeds)
        print(f"{runs} runs written in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    report = measure(COMMAND.format(arguments=("report", str(results))))
    sizes = {file.name: round(file.stat().st_size / 1e6, 2) for file in results.iterdir() if file.is_file()}
    return {
        "runs": runs,
        "rows": rows,
        "report": report,
        "judged": measure(READ_AND_COMPARE.format(results=str(results))),  # words: fixed name
        "mb": sizes,
    }


def simulated(number: int) -> list[str]:
    """Return coverage and false findings as Markdown."""
    from sft.report.metrics import title

    studies = importlib.import_module("studies")
    lines = [
        f"Coverage of 95 % intervals over test rows, in {number:,} simulated studies of each kind (of the studies in "
        "which an interval is given; their share in brackets, if it is not all):",
        "",
        f"| answers | rows | {' | '.join(map(title, studies.METRICS))} |",
        f"|---|---|{'---|' * len(studies.METRICS)}",
    ]
    for truth in studies.TRUTHS:
        found = studies.coverage(truth, number).values()
        lines.append(
            f"| {truth.what} | {truth.rows:,} | {' | '.join(_share(one.given, one.share, number) for one in found)} |"
        )
    lines += [
        "",
        f"No difference at all: in how many of {number:,} studies some models are found other than the baseline's by "
        "their rows alone (Holm), at 5 %:",
        "",
        "| recipes | rows | metric | contrasts |",
        "|---|---|---|---|",
    ]
    for case in studies.EQUAL:
        lines.append(
            f"| {case.what} | {case.rows:,} | {title(case.metric)} | {studies.false_positives(case, number):.1%} |"
        )
    return lines


def _share(given: int, share: float, number: int) -> str:
    if given < number / 20:  # too few for an estimate
        return "none given" if given == 0 else f"given in {given / number:.1%}"
    return f"{share:.1%}" if given == number else f"{share:.1%} ({given / number:.0%})"


def main() -> None:
    """Measure, and print or write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="Create the folder here, or use the existing one.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--studies", type=int, default=0, help="Number of studies of each kind.")
    parser.add_argument("--record", action="store_true", help="Write the section of RESULTS.md.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sft-report-") as scratch:
        figures = measure_report(options.keep or Path(scratch), options.runs, options.rows, options.seeds)
    figures["studies"] = simulated(options.studies) if options.studies else []
    text = json.dumps(figures, indent=2)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.record:
        report, compared = figures["report"], figures["judged"]  # words: fixed name
        write_section("The report", [
            f"{options.runs:,} runs of {options.seeds} seeds with {options.rows:,} test rows each, one thread:",
            "",
            "| | seconds | CPU s | peak MB |",
            "|---|---|---|---|",
            f"| `report`, all files | {report['seconds']} | {report['cpu_s']} | {report['peak_mb']} |",
            f"| reading and comparing alone | {compared['seconds']} | {compared['cpu_s']} | {compared['peak_mb']} |",
            "",
            f"`report.html`: {figures['mb'].get('report.html')} MB.",
            "",
            *figures["studies"],
        ], PACKAGES)  # fmt: skip
    print(text)


if __name__ == "__main__":
    main()
