"""Measure the sweep engine: a short experiment forked or in a new process, parallel jobs, the parent process.

    python scripts/bench/sweep.py [--quick] [--json FILE]

CPU seconds are those of the whole process tree, from the kernel: this process adopts processes that outlive the sweep
(the fork server does so briefly). The cost of one more experiment is the slope between a small and a larger sweep, so
that the server's imports do not count. One thread throughout; medians.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

from record import write_section
from scale import measure_scale

REPOSITORY = Path(__file__).resolve().parent.parent.parent
DEMO_MODEL = REPOSITORY / "etc" / "demo" / "model"
DEMO_DATA = REPOSITORY / "etc" / "demo" / "data" / "sentiment"
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
PARTS = ("demo", "m19", "jobs", "scale")
FEW, MANY = 2, 5  # experiments in the two sweeps for the slope


class Cost(NamedTuple):
    """Cost of a sweep: CPU seconds of all its processes, and wall seconds."""

    cpu: float
    wall: float


def short_grid(model: Path, runs: int) -> dict[str, Any]:
    """Return a grid of experiments with 24 training rows (one epoch of 3 steps) and 50 scored rows, one per seed.

    For a model other than the demo's, inputs are truncated to 24 tokens. Otherwise the forward passes of a larger model
    would hide the measured cost of starting an experiment.
    """
    length = None if model == DEMO_MODEL else 24
    config = {
        "dataset": {"path": str(DEMO_DATA), "task_type": "classification", "shots": 8, "max_n_test": 50},
        "model": {"name": str(model)},
        "lora": {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
        "prompting": {
            "instruction": "Label this review.",
            "input_columns": ["text"],
            "output_column": "label",
            "max_input_length": length,
        },
        "training": {"trainer_args": {"num_train_epochs": 1, "per_device_train_batch_size": 8}},
        "inference": {"max_seq_length": 512},
    }
    return {"configs": {"short": config}, "seeds": list(range(runs))}


def demo_grid() -> dict[str, Any]:
    """Return the grid of the demo's settings at 4, 16 and 64 shots, with eight seeds: 24 runs."""
    configs = {}
    for shots in (4, 16, 64):
        config = short_grid(DEMO_MODEL, 1)["configs"]["short"]
        del config["dataset"]["max_n_test"]
        config["dataset"]["shots"] = shots
        config["training"] = {
            "trainer_args": {"max_steps": 70, "per_device_train_batch_size": 16, "learning_rate": 3e-3}
        }
        configs[f"shots={shots}"] = config
    return {"configs": configs, "seeds": list(range(13, 21))}


def make_model_of_19m(folder: Path) -> Path:
    """Save a random Llama of 19 million parameters with the demo's tokenizer, so that both read the same tokens."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", vocab_size=len(tokenizer), hidden_size=384, intermediate_size=1120, num_hidden_layers=10,
        num_attention_heads=6, num_key_value_heads=6, max_position_embeddings=2048, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def run_sweep(grid: dict[str, Any], results: Path, *arguments: str) -> Cost:
    """Run a grid to its end, including all its processes."""
    file = results.with_suffix(".json")
    file.write_text(json.dumps(grid), encoding="utf-8")
    command = [sys.executable, "-m", "sft.cli", "run-experiments", str(file), "--results-path", str(results)]
    before, start = _cpu_of_children(), time.perf_counter()
    process = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    wall = time.perf_counter() - start
    while True:  # the fork server and others end briefly after their parent
        try:
            os.wait()
        except ChildProcessError:
            break
    if process.returncode != 0:
        raise SystemExit(f"the sweep failed:\n{process.stdout}{process.stderr}")
    return Cost(_cpu_of_children() - before, wall)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cost_of_one_more(model: Path, isolation: str, folder: Path, rounds: int) -> float:
    """Return the CPU seconds of one more short experiment."""
    slopes = []
    for number in range(rounds):
        few, many = (
            run_sweep(short_grid(model, runs), folder / f"{isolation}-{runs}-{number}", "--isolation", isolation)
            for runs in (FEW, MANY)
        )
        slopes.append((many.cpu - few.cpu) / (MANY - FEW))
    return statistics.median(slopes)


def outputs_of(results: Path) -> dict[str, Any]:
    """Return the outputs of runs that must not depend on how they were started: files, metrics, losses."""
    outputs: dict[str, Any] = {}
    for run in sorted((results / "runs").iterdir()):
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        files = [*run.glob("*.tsv"), *run.glob("*.safetensors"), run / "adapter" / "adapter_model.safetensors"]
        digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        losses = result["training"]["loss_history"]
        outputs[run.name] = {"files": digests, "results": result["results"], "losses": losses}
    return outputs


def compare_isolations(name: str, model: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Compare new processes with forks on the same experiments."""
    fresh = cost_of_one_more(model, "spawn", folder, rounds)
    forked = cost_of_one_more(model, "fork", folder, rounds)
    resident = cost_of_one_more(model, "resident", folder, 1)
    outcomes = [outputs_of(folder / f"{kind}-{MANY}-0") for kind in ("spawn", "fork", "resident")]
    report = {
        "fresh_cpu_s": round(fresh, 3),
        "fork_cpu_s": round(forked, 3),
        "resident_cpu_s": round(resident, 3),
        "fork_vs_fresh": round(fresh / forked, 2),
        "identical": outcomes[0] == outcomes[1] == outcomes[2] and len(outcomes[0]) == MANY,
    }
    print(name, report, flush=True)
    return report


def parallel_jobs(folder: Path, quick: bool) -> dict[str, float]:
    """Run the demo's sweep of 24 runs, one at a time and two at a time."""
    grid = demo_grid()
    if quick:
        grid["seeds"] = grid["seeds"][:1]
    walls = {jobs: run_sweep(grid, folder / f"jobs-{jobs}", "--jobs", str(jobs)).wall for jobs in (1, 2)}
    return {
        "jobs_1_s": round(walls[1], 1),
        "jobs_2_s": round(walls[2], 1),
        "jobs_2_vs_1": round(walls[1] / walls[2], 2),
    }


def table(report: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| model | new, CPU-s | forked, CPU-s | resident, CPU-s | new / forked | identical |",
        "|" + " --- |" * 6,
    ]
    for name in ("demo", "m19"):
        figures = report[name]
        lines.append(
            f"| {name} | {figures['fresh_cpu_s']} | {figures['fork_cpu_s']} | {figures['resident_cpu_s']} "
            f"| {figures['fork_vs_fresh']} | {'yes' if figures['identical'] else 'NO'} |"
        )
    lines += [
        "",
        "CPU seconds of one more short experiment (24 training rows, 3 steps, 50 scored rows, saved); one "
        f"thread, median of {report['rounds']} (resident: one). The inputs of m19, 19 million parameters, are "
        "truncated to 24 tokens. Identical: predictions, label scores, adapters, losses and metrics, byte for byte. "
        "Part of what a fork saves is work that the server does once, such as looking up versions "
        "(`sft/model/warm.py`).",
        "",
        f"Demo sweep of 24 runs: {report['jobs_1_s']} s with --jobs 1, {report['jobs_2_s']} s with --jobs 2: "
        f"{report['jobs_2_vs_1']} times as fast.",
        "",
        f"10,000 experiments (2,000 configurations, 5 seeds): planned and looked up in {report['plan_10000_s']} s "
        f"({report['plan_10000_cpu_s']} CPU-s), reported in {report['report_10000_s']} s "
        f"({report['report_10000_cpu_s']} CPU-s); peak memory of the parent {report['parent_rss_mb']} MB.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one round, few runs; not written to RESULTS.md")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="measure these only")
    parser.add_argument("--json", type=Path, help="write the figures to this file; it keeps parts measured before")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    report: dict[str, Any] = {"rounds": 1 if options.quick else 3}
    if options.json and options.json.exists():
        report |= json.loads(options.json.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="sft-bench-") as name:
        for part in options.parts:
            report |= measure(part, Path(name), options.quick)
            if options.json:
                options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if report.keys() >= {"demo", "m19", "jobs_2_vs_1", "plan_10000_s"}:
        print(table(report))
        if not options.quick:
            write_section("Sweep engine", table(report).splitlines())


def measure(part: str, folder: Path, quick: bool) -> dict[str, Any]:
    """Return the figures of a part."""
    if part == "jobs":
        return parallel_jobs(folder, quick)
    if part == "scale":
        return measure_scale(folder / "scale", 1_000 if quick else 10_000)
    model = DEMO_MODEL if part == "demo" else make_model_of_19m(folder / "model")
    (folder / part).mkdir()
    return {part: compare_isolations(part, model, folder / part, 1 if quick else 3)}


if __name__ == "__main__":
    main()
