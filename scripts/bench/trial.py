"""Measure the cost of the trial of a cache before its use, as a share of a run of 500 rows.

    python scripts/bench/trial.py [--json FILE] [--quick]

The demo's model and a random Llama of 19 million parameters, fp32, one thread, CPU seconds. A trial is measured as the
difference of two calls on the same few rows, the first with a trial and the second without, in turn (the median of
several rounds), and for label scores what it adds to reading the shared prefix. The run is 500 rows of it alone:
loading, prompts and metrics are left out, so that the shares are upper bounds. Training: the trial alone, against steps
of one epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

from record import write_section
from scoring_cases import END, make_case, make_model

DEMO_MODEL = Path(__file__).resolve().parent.parent.parent / "etc" / "demo" / "model"
RUN, FEW = 500, 16  # rows of a run, and of the compared calls
LABELS, NEW_TOKENS = (3, 77), 32
TRAINED_PREFIX = 300
AIM = 1.0  # percent


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def added(model: Any, work: Callable[[], Any], rounds: int) -> float:
    """Return by how many seconds the first call is longer than the second."""
    differences = []
    for number in range(rounds):
        model.config.round_of_bench = number  # makes the engine treat it as a new model
        first, second = cpu_seconds(work), cpu_seconds(work)
        differences.append(first - second)
    del model.config.round_of_bench
    return max(0.0, statistics.median(differences))


def scoring(model: Any, labels: int, rows: int, rounds: int) -> dict[str, float]:
    """Return the seconds of a trial and of a run, for label scores."""
    import torch

    from sft.inference.classification import score_labels
    from sft.inference.decoder import Decoder
    from sft.modes import evaluating

    case, few = make_case(labels, rows), make_case(labels, FEW)
    trial = added(model, lambda: score_labels(model, few.prompts, few.labels), rounds)
    longest = max(case.prompts, key=len)
    with evaluating(model), torch.inference_mode():
        decoder = Decoder(model, len(longest) + 10)
        with_row = partial(decoder.prefix_cache_of, [*longest, *case.labels[0][:-1]], case.prefix, len(case.labels[0]))
        alone = partial(decoder.prefix_cache, longest[: case.prefix])
        trial += statistics.median(cpu_seconds(with_row) - cpu_seconds(alone) for _ in range(rounds))
    return {"trial_s": trial, "run_s": cpu_seconds(lambda: score_labels(model, case.prompts, case.labels))}


def generating(model: Any, rows: int, rounds: int) -> dict[str, float]:
    """Return the same for answers of up to 32 tokens."""
    from sft.inference.generating.engine import GenerationSettings, generate

    settings, case = GenerationSettings(NEW_TOKENS, (END,)), make_case(3, rows)
    few = case.prompts[:FEW]
    trial = added(model, lambda: generate(model, few, settings, batch_size=FEW), rounds)
    return {"trial_s": trial, "run_s": cpu_seconds(lambda: generate(model, case.prompts, settings, batch_size=FEW))}


def training(rows: int, rounds: int) -> dict[str, float]:
    """Return the same for an epoch of training on rows with a shared prefix."""
    import training_peers as peers

    from sft.config.sections.training import TrainingConfig
    from sft.training import TrainingRow, TrainRequest
    from sft.training.arguments import sft_config
    from sft.training.form import choose_collator

    peers.ours(peers.adapted(100), peers.make_job(8, peers.BATCH, 1, 0, vocabulary=100))
    job, model = peers.make_job(TRAINED_PREFIX, rows, 1, 0), peers.adapted()
    training_rows = [TrainingRow(*pair) for pair in zip(job.prompts, job.answers, strict=True)]
    request = TrainRequest(model, peers._tokenizer(), training_rows, TrainingConfig(), Path("unused"), 0)
    arguments = sft_config(request)
    trial = statistics.median(cpu_seconds(lambda: choose_collator(request, arguments)) for _ in range(rounds))
    return {"trial_s": trial, "run_s": cpu_seconds(lambda: peers.ours(model, job))}


def share(seconds: dict[str, float], rows: int) -> dict[str, float]:
    """Add the trial's share of a run of 500 rows, in percent."""
    run = seconds["run_s"] * RUN / rows
    return {
        "trial_s": round(seconds["trial_s"], 4),
        "run_s": round(run, 2),
        "percent": round(100 * seconds["trial_s"] / run, 2),
    }


def table(report: dict[str, dict[str, float]]) -> list[str]:
    """Return the figures as Markdown."""
    lines = ["| what | trial, CPU-s | 500 rows, CPU-s | share |", "|" + " --- |" * 4]
    lines += [f"| {name} | {row['trial_s']} | {row['run_s']} | {row['percent']} % |" for name, row in report.items()]
    return [
        *lines,
        "",
        "The longest row again by a plain forward, in float32 on one thread; 500 rows without loading, prompts and "
        f"metrics. Aim: at most {AIM:.0f} %. Labels: 3 behind 404 shared tokens and 77 behind 803, rows of 10 to 60 "
        f"tokens of their own. Answers: {NEW_TOKENS} tokens behind 404 shared ones, batches of {FEW}. Training: an "
        f"adapter on all linear layers, {TRAINED_PREFIX} shared tokens, batches of 8, one epoch.",
    ]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer rows and rounds; not written to RESULTS.md")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    rows, rounds = (64, 3) if options.quick else (RUN, 9)
    report: dict[str, dict[str, float]] = {}

    def note(name: str, seconds: dict[str, float], measured: int = rows) -> None:
        report[name] = share(seconds, measured)
        print(name, report[name], flush=True)

    models = {
        "the demo's model": AutoModelForCausalLM.from_pretrained(DEMO_MODEL, dtype=torch.float32).eval(),
        "19 million parameters": make_model(),
    }
    for about, model in models.items():
        for labels in LABELS:
            note(f"{labels} labels, {about}", scoring(model, labels, rows, rounds))
        note(f"answers, {about}", generating(model, rows, rounds))
    trained = min(rows, 128)
    note("training, 19 million parameters", training(trained, rounds), trained)
    print("\n".join(table(report)))
    if options.json:
        worst = max(figures["percent"] for figures in report.values())
        options.json.write_text(json.dumps({"worst_percent": worst, **report}, indent=2) + "\n", encoding="utf-8")
    if not options.quick:
        write_section("Trials of caches", table(report))


if __name__ == "__main__":
    main()
