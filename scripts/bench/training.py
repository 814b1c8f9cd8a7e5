"""Compare training with TRL and bare loops on the same rows, on one thread, with a model of 19 million parameters.

    python scripts/bench/training.py [--json FILE] [--quick] [--write] [--prefixes 40 300 600]

Rows have 20 to 60 ids after a shared prefix of 40, 300 or 600, eight to a batch; a LoRA on all linear layers. Figures
are CPU seconds of whole trainings, including set-up. All take turns in each of three rounds (a seed each; packing only
in the first), and ratios are medians over the rounds. On a CPU, TRL computes the logits of all positions, on a GPU only
those for targets: `answers only` is a padded loop that does the latter, and no ratio here applies to a GPU. TRL's
default is bfloat16, which is faster on some processors, so there is a column without it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

from record import write_section

PREFIXES = (40, 300, 600)
ROWS, EPOCHS = {40: 48, 300: 16, 600: 16}, 2
WIDE, WIDE_PREFIX = 151_936, 300  # a large vocabulary, and the prefix of its rows
CONTENDERS = ("ours", "sorted_loop", "answers_only", "bare_loop", "trl_packing", "trl_fp32", "trl")


SLOWEST = "trl_packing"  # in the first round only


def measure(prefix: int, rounds: int, rows: int) -> dict[str, Any]:
    """Return the figures for a length of the prefix."""
    import training_peers as peers

    for name in CONTENDERS:  # imports, first calls
        getattr(peers, name)(peers.adapted(100), peers.make_job(8, peers.BATCH, 1, 0, vocabulary=100))
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    losses: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    steps = 0
    for seed in range(rounds):
        job = peers.make_job(prefix, rows, EPOCHS, seed)
        steps = job.steps
        for name in CONTENDERS if seed == 0 else [name for name in CONTENDERS if name != SLOWEST]:
            model = peers.adapted()
            seconds[name].append(_cpu_seconds(partial(getattr(peers, name), model, job)))
            losses[name].append(peers.final_loss(model, job))
    return {
        **{f"vs_{name.removesuffix('_loop')}": _ratio(seconds[name], seconds["ours"]) for name in CONTENDERS[1:]},
        "memory_vs_sorted": memory_ratio(prefix),
        "grad_rel_diff": grad_difference(prefix),
        "seconds_a_step": {name: round(statistics.median(taken) / steps, 3) for name, taken in seconds.items()},
        "final_loss": {name: [round(loss, 4) for loss in values] for name, values in losses.items()},
    }


def _ratio(theirs: list[float], ours: list[float]) -> float:
    return round(statistics.median(peer / own for peer, own in zip(theirs, ours, strict=False)), 2)


def _cpu_seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def memory_ratio(prefix: int) -> float:
    """Return the memory for the backward pass in a step of the sorted loop, relative to ours."""
    import training_peers as peers

    job = peers.make_job(prefix, peers.BATCH, 1, 0)
    return round(_kept(peers.sorted_loop, job) / _kept(peers.ours, job), 2)


def _kept(train: Callable[[Any, Any], None], job: Any) -> int:
    """Return the bytes of tensors that autograd keeps in a training of one step, without weights."""
    import torch
    import training_peers as peers

    model = peers.adapted()
    seen = {value.untyped_storage().data_ptr() for value in model.parameters()}
    kept = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            kept += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        train(model, job)
    return kept


def grad_difference(prefix: int) -> float:
    """Return the relative difference between the gradients of a packed and a padded batch."""
    import torch
    import training_peers as peers

    from sft.training.collators import Masks, PartsCollator
    from sft.training.parts import Costs, Splitter

    job, model = peers.make_job(prefix, peers.BATCH, 1, 0), peers.adapted().train()
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.02)
    rows = [
        {"input_ids": prompt + answer, "labels": [peers.IGNORED] * len(prompt) + answer}
        for prompt, answer in zip(job.prompts, job.answers, strict=True)
    ]
    batch = PartsCollator(Splitter(Costs(1e9, 0.0), shares=True), Masks(torch.float32), 0)(rows)
    (part,) = batch["parts"]
    targets = part.pop("targets")
    logits = model(**part, use_cache=False).logits.flatten(0, -2)
    ours = _gradients(model, torch.nn.functional.cross_entropy(logits, targets))
    padded = _gradients(model, peers.padded_loss(model, job, list(range(peers.BATCH))))
    return float(f"{float((ours - padded).norm() / padded.norm()):.2g}")


def _gradients(model: Any, loss: Any) -> Any:
    import torch

    model.zero_grad()
    loss.backward()
    return torch.cat([value.grad.flatten() for value in model.parameters() if value.grad is not None])


def wide_vocabulary() -> dict[str, float]:
    """Return the peak memory of ours and TRL beyond the loaded model, each in its own process."""
    peaks = {}
    for name in ("ours", "trl"):
        command = [sys.executable, __file__, "--peak", name]
        peaks[name] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    return {
        "ours_mb": round(peaks["ours"] / 1e6),
        "trl_mb": round(peaks["trl"] / 1e6),
        "share_of_trl": round(peaks["ours"] / peaks["trl"], 3),
    }


def peak(name: str) -> int:
    """Return the bytes by which a training of two steps raises the peak of this process."""
    import psutil
    import training_peers as peers

    model = peers.adapted(WIDE)
    warm = peers.make_job(8, peers.BATCH, 1, 0, vocabulary=100)
    getattr(peers, name)(model, warm._replace(prompts=[ids[:12] for ids in warm.prompts]))  # imports, the optimiser
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before = psutil.Process().memory_info().rss
    getattr(peers, name)(model, peers.make_job(WIDE_PREFIX, 2 * peers.BATCH, 1, 0))
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    highest = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(highest.split()[1]) * 1024 - before


def table(figures: dict[str, Any]) -> list[str]:
    """Return the figures as Markdown."""
    lines = [
        "| prefix, ids | s per step | vs TRL | vs TRL, fp32 | vs TRL, packing, fp32 | vs bare loop | vs answers only "
        "| vs sorted, answers only | kept for the backward pass | gradients differ |",
        "|" + " --- |" * 10,
    ]
    for prefix in PREFIXES:
        if (case := figures.get(f"prefix_{prefix}")) is not None:
            lines.append(
                f"| {prefix} | {case['seconds_a_step']['ours']} | {case['vs_trl']}x | {case['vs_trl_fp32']}x "
                f"| {case['vs_trl_packing']}x | {case['vs_bare']}x | {case['vs_answers_only']}x | {case['vs_sorted']}x "
                f"| 1/{case['memory_vs_sorted']} | {case['grad_rel_diff']} |"
            )
    lines += ["", "Loss of the answers at the end, mean ± standard deviation over the seeds:", ""]
    for prefix in PREFIXES:
        if (case := figures.get(f"prefix_{prefix}")) is not None:
            losses = case["final_loss"].items()
            texts = (f"{name} {statistics.mean(values):.3f} ± {_spread(values):.3f}" for name, values in losses)
            lines.append(f"- {prefix}: {', '.join(texts)}")
    if (wide := figures.get(f"vocabulary_{WIDE}")) is not None:
        lines += [
            "",
            f"With a vocabulary of {WIDE:,} (4 layers of 256, {WIDE_PREFIX} ids shared), peak memory beyond the model: "
            f"{wide['ours_mb']} MB, TRL {wide['trl_mb']} MB ({wide['share_of_trl']} of it).",
        ]
    return lines


def _spread(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="one round of fewer rows")
    parser.add_argument("--write", action="store_true", help="write the table to RESULTS.md")
    parser.add_argument("--prefixes", nargs="+", type=int, default=PREFIXES)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    if options.peak:
        print(peak(options.peak))
        return
    figures: dict[str, Any] = {}
    for prefix in options.prefixes:
        rows = 8 if options.quick else ROWS.get(prefix, 16)
        figures[f"prefix_{prefix}"] = measure(prefix, 1 if options.quick else 3, rows)
        print(prefix, json.dumps(figures[f"prefix_{prefix}"]), flush=True)
    figures[f"vocabulary_{WIDE}"] = wide_vocabulary()
    print("\n".join(table(figures)))
    if options.write:
        write_section("Training", table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
