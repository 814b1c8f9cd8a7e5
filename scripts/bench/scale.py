"""Measure a large sweep: planning, resuming, status and report of a results folder with 10,000 finished runs.

    python scripts/bench/scale.py [--number 10000] [--seeds 5] [--keep FOLDER] [--json FILE]

The runs are simulated, with results as large as real ones. Each command is measured in its own process: wall and CPU
seconds and peak memory. Only reading is measured, so the files of the runs are written without syncing.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sft.config.experiment import Experiment
from sft.results.schema import RunResult, RunState
from sft.results.sealed import seal
from sft.results.store import ResultStore
from sft.sweep.planning.check import load_plan
from sft.sweep.planning.jobs import config_of, write_plan

METRICS = (
    "accuracy", "macro_f1", "micro_f1", "weighted_f1", "macro_precision", "macro_recall", "mcc", "ece", "brier",
    "log_loss", "auroc", "balanced_accuracy", "cohen_kappa", "precision_0", "precision_1", "precision_2", "recall_0",
    "recall_1", "recall_2", "top_2",
)  # fmt: skip
LABELS = ("negative", "neutral", "positive")

PLAN = """
from pathlib import Path
from sft.results.store import ResultStore
from sft.sweep.planning.check import load_plan
from sft.sweep.planning.options import SweepOptions
from sft.sweep.planning.jobs import write_plan
from sft.sweep.run import Sweep
plan = load_plan(Path("{grid}"), None, "run-experiment", 1_000_000)
store = ResultStore(Path("{results}"))
sweep = Sweep(plan, plan.experiments, store, SweepOptions(Path("{grid}").parent))
write_plan(plan, store)
assert len(sweep.done) == {number}, len(sweep.done)
"""
COMMAND = "from sft.cli.main import app; app(list({arguments!r}), standalone_mode=False)"
WRAPPER = """
import json, re, resource, sys, time
from pathlib import Path
start = time.perf_counter()
{body}
seconds, cpu = time.perf_counter() - start, time.process_time()
if sys.platform == "linux":  # ru_maxrss would include the memory of the parent process
    peak = int(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]) / 2**10
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
heavy = [name for name in ("torch", "transformers", "datasets") if name in sys.modules]
figures = {{"seconds": round(seconds, 2), "cpu_s": round(cpu, 2), "peak_mb": round(peak, 1), "heavy": heavy}}
print(json.dumps(figures), file=sys.stderr)
"""


def write_grid(path: Path, number: int, seeds: int) -> None:
    """Write a grid of `number` experiments over the seeds, which differ in shots, examples, rank and learning rate."""
    configs = {}
    for index in range(-(-number // seeds)):
        shots, icl, rank, rate = 8 * (index % 8 + 1), index // 8 % 4, 2 ** (index // 32 % 8), 1 + index // 256
        configs[f"shots={shots} icl={icl} r={rank} lr={rate}e-05"] = {
            "dataset": {"path": "hub/data", "task_type": "classification", "shots": shots, "max_n_test": 1000},
            "model": {"name": "hub/model"},
            "lora": {"r": rank, "lora_alpha": 16, "target_modules": "all-linear"},
            "prompting": {
                "instruction": "Is this tweet negative, neutral or positive?",
                "input_columns": ["text"],
                "output_column": "label_text",
            },
            "training": {"trainer_args": {"num_train_epochs": 5, "learning_rate": rate * 1e-5}},
            "inference": {"icl_examples": icl, "batch_size": "auto", "max_seq_length": 1024},
        }
    path.write_text(json.dumps({"configs": configs, "seeds": list(range(13, 13 + seeds))}), encoding="utf-8")


def made_up_result(experiment: Experiment, chance: random.Random) -> RunResult:
    """Return a result as large as a real one: 20 metrics on two splits, a confusion matrix, 50 points of the loss."""

    def metrics() -> dict[str, Any]:
        matrix = [[chance.randrange(300) for _ in LABELS] for _ in LABELS]
        return {**{name: chance.random() for name in METRICS}, "confusion_matrix": matrix, "support": [333, 333, 334]}

    history = [
        {"step": n, "epoch": n / 10, "loss": chance.random(), "learning_rate": 1e-5, "grad_norm": chance.random()}
        for n in range(50)
    ]
    prompts = {"prompts": 1000, "longest": 211, "dropped_examples": 0, "cut_rows": 3, "cut_tokens": 40}
    return RunResult(
        name=experiment.name,
        id=experiment.id,
        recipe_id=experiment.recipe_id,
        seed=experiment.seed,
        endpoint=experiment.endpoint,
        config=config_of(experiment),
        results={**metrics(), "validation": metrics(), "label_scoring": {"mean": {"accuracy": 0.5}}},
        shots={
            "requested": 8,
            "drawn": 24,
            "per_label": dict.fromkeys(LABELS, 8),
            "prompts": {"test": prompts, "validation": prompts},
        },
        labelled_examples=24,
        training={"steps": 50, "epochs": 5.0, "seconds": 20.0, "train_loss": 0.3, "loss_history": history},
        timings={"model": 1.0, "train": 20.0, "answer": 9.0, "total": 30.0 + chance.random()},
        resources={"peak_memory_bytes": 10**9, "cpu_seconds": 40.0, "processors": 8, "threads": 8, "device": "cpu"},
        environment={"packages": {f"package-{n}": "1.2.3" for n in range(16)}, "python": "3.11.9"},
        data={"path": "hub/data", "sha256": "0" * 64, "rows": {"train": 20_000, "test": 1000, "validation": 1000}},
    )


def fill(grid: Path, results: Path) -> int:
    """Write the results folder of the grid's sweep; return its number of experiments."""
    plan, store, chance = load_plan(grid, None, "run-experiment", 1_000_000), ResultStore(results), random.Random(13)
    for experiment in plan.experiments:
        folder = results / "runs" / experiment.folder_name
        folder.mkdir(parents=True)
        result, config = made_up_result(experiment, chance), config_of(experiment)
        state = RunState(state="done", started=1.0, updated=31.0, pid=1, host="host")
        (folder / "result.json").write_text(seal(result.model_dump(mode="json")), encoding="utf-8")
        (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
        (folder / "state.json").write_text(state.model_dump_json(indent=2), encoding="utf-8")
    write_plan(plan, store)
    return len(plan.experiments)


def measure(body: str) -> dict[str, Any]:
    """Return seconds, peak memory and slow imports of some lines of Python, run in their own process."""
    done = subprocess.run(
        [sys.executable, "-c", WRAPPER.format(body=body)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    figures: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    return figures


def measure_all(folder: Path, number: int, seeds: int) -> dict[str, dict[str, Any]]:
    """Return the figures of planning with resuming, status and report on `folder`, which is filled first."""
    grid, results = folder / "grid.json", folder / "results"
    if not results.exists():
        write_grid(grid, number, seeds)
        start = time.perf_counter()
        number = fill(grid, results)
        print(f"{number} runs written in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    else:
        number = len(ResultStore(results).plan() or [])
    again = ("run-experiments", str(grid), "--results-path", str(results), "--max-experiments", str(number))
    bodies = {
        "plan": PLAN.format(grid=grid, results=results, number=number),
        "status": (
            f'from pathlib import Path; from sft.sweep.screen.status import show_status; show_status(Path("{results}"))'
        ),
        "report": COMMAND.format(arguments=("report", str(results))),
        "parent": COMMAND.format(arguments=again),  # everything is done: it plans, checks each result, and reports
    }
    return {name: measure(body) for name, body in bodies.items()}


def measure_scale(folder: Path, number: int) -> dict[str, Any]:
    """Return the figures for `sweep.py`: wall and CPU seconds of planning (with resuming), status and report, and the
    parent's memory in MiB.

    Args:
        folder: folder to create.
        number: number of experiments.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = measure_all(folder, number, 5)
    names = ("plan", "status", "report")
    seconds = {f"{name}_{number}_s": figures[name]["seconds"] for name in names}
    cpu = {f"{name}_{number}_cpu_s": figures[name]["cpu_s"] for name in names}
    return {**seconds, **cpu, "parent_rss_mb": figures["parent"]["peak_mb"]}


def main() -> None:
    """Measure, and print or write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="Create the folder here, or use the existing one.")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sft-scale-") as scratch:
        figures = measure_all(options.keep or Path(scratch), options.number, options.seeds)
    text = json.dumps(figures, indent=2)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
