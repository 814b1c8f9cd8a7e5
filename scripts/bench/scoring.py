"""Compare label scoring with its peers and its bound, on one thread, with a random model of 19 million parameters.

    python scripts/bench/scoring.py [--json FILE] [--dump FILE] [--quick] [--cases 3 10 77] [--no-lm-eval]

There are three cases: 3, 10 and 77 labels after in-context examples of about 400, 460 and 800 tokens that all rows
share. Peers are token by token (each prompt read once, each label continuing its cache), and lm-eval's
`HFLM._loglikelihood_tokens`. The bound passes every distinct token through the model once (`scoring_peers.Bound`).
Figures are medians of ratios of CPU seconds per row, measured in turn in three rounds. Slow peers score fewer rows.

`--dump` writes ids and scores of the 10-label case with the recipe for the model: torch.manual_seed(0), then
LlamaForCausalLM of the config in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

from record import PACKAGES, write_section
from scoring_cases import CONFIG, Case, make_case, make_model, tree_nodes

DEMO_MODEL = Path(__file__).resolve().parent.parent.parent / "etc" / "demo" / "model"
LABELS = (3, 10, 77)
ROWS = {3: 128, 10: 96, 77: 48}  # scored by the engine
SLOW_ROWS = {3: 6, 10: 4, 77: 2}  # token by token
SLOWEST_ROWS = {3: 6, 10: 2, 77: 1}  # lm-eval
SLOWEST_LABELS = 20  # lm-eval takes the same time for each label, so 20 of 77 suffice
CHECKED = 24  # pairs of row and label that are scored again without a cache


def measure(model: Any, labels: int, lm_eval: Any, rounds: int) -> dict[str, Any]:
    """Return the figures of a case."""
    from scoring_peers import make_bound, token_by_token

    from sft.inference.classification import score_labels

    case = make_case(labels, ROWS[labels])
    bound = make_bound(model, case, _best_shape(model, labels))
    slow, slowest = case.prompts[: SLOW_ROWS[labels]], case.prompts[: SLOWEST_ROWS[labels]]
    contenders: dict[str, tuple[Callable[[], Any], float]] = {
        "engine": (lambda: score_labels(model, case.prompts, case.labels), len(case.prompts)),
        "body": (bound.body, len(case.prompts)),
        "attention": (bound.attention, len(case.prompts)),
        "token_by_token": (lambda: token_by_token(model, slow, case.labels), len(slow)),
    }
    if lm_eval is not None:
        few = case.labels[:SLOWEST_LABELS]
        contenders["lm_eval"] = lambda: lm_eval(slowest, few), len(slowest) * len(few) / labels
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (work, rows) in contenders.items():
            seconds[name].append(_cpu_seconds(work) / rows)
    return _figures(seconds) | {"max_abs_diff": _max_abs_diff(model, case, slow), "tree_nodes": tree_nodes(case.labels)}


def _figures(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Return the medians of the ratios of each round."""

    def ratio(one: str, *others: str) -> float:
        rounds = zip(seconds[one], *(seconds[other] for other in others), strict=True)
        return round(statistics.median(first / sum(rest) for first, *rest in rounds), 3)

    engine = statistics.median(seconds["engine"])
    figures = {
        "over_bound": ratio("engine", "body", "attention"),
        "over_body_alone": ratio("engine", "body"),
        "vs_token_by_token": ratio("token_by_token", "engine"),
        "rows_per_cpu_second": round(1 / engine, 2),
    }
    if "lm_eval" in seconds:
        figures["vs_lm_eval"] = ratio("lm_eval", "engine")
    return figures


def _cpu_seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _best_shape(model: Any, labels: int) -> tuple[int, int]:
    """Return the shape of the bound's forward passes that is fastest on some rows of a case."""
    from scoring_peers import SHAPES, make_bound

    few = make_case(labels, max(4, ROWS[labels] // 8))
    bounds = {shape: make_bound(model, few, shape).body for shape in SHAPES}
    return min(SHAPES, key=lambda shape: min(_cpu_seconds(bounds[shape]) for _ in range(2)))


def _max_abs_diff(model: Any, case: Case, slow: list[list[int]]) -> float:
    """Return the largest difference from scoring pairs without a cache, and some rows token by token."""
    import numpy as np
    from scoring_peers import naive, token_by_token

    from sft.inference.classification import score_labels

    scores_NL = score_labels(model, case.prompts, case.labels).sum_logprob_NL
    pairs = [(7 * index % len(case.prompts), 5 * index % len(case.labels)) for index in range(CHECKED)]
    gaps = [abs(naive(model, case.prompts[row], case.labels[label]) - scores_NL[row, label]) for row, label in pairs]
    gaps.append(np.abs(np.array(token_by_token(model, slow, case.labels)) - scores_NL[: len(slow)]).max())
    return float(f"{max(gaps):.2g}")


def memory() -> dict[str, float]:
    """Return the peak memory of the 77-label case relative to plain forward passes, each in its own process."""
    peaks = {}
    for kind in ("engine", "plain", "plain_of_16"):
        command = [sys.executable, __file__, "--peak", kind]
        peaks[kind] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    return {
        "engine_mb": round(peaks["engine"] / 1e6, 1),
        "plain_one_row_mb": round(peaks["plain"] / 1e6, 1),
        "plain_16_rows_mb": round(peaks["plain_of_16"] / 1e6, 1),
        "over_plain": round(peaks["engine"] / peaks["plain"], 2),
    }


def peak(kind: str) -> int:
    """Return the peak growth in bytes while scoring (or only reading) 16 rows of the 77-label case."""
    import torch

    from sft.inference.classification import score_labels

    torch.set_num_threads(1)
    model, case, tiny = make_model(), make_case(77, 16), make_case(3, 2)
    score_labels(
        model, [prompt[-5:] for prompt in tiny.prompts], tiny.labels
    )  # loads everything that is loaded at first use
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _memory_of("VmRSS")
    if kind == "engine":
        score_labels(model, case.prompts, case.labels)
    else:
        step = 16 if kind == "plain_of_16" else 1
        longest = max(map(len, case.prompts))
        for start in range(0, 16, step):
            rows = case.prompts[start : start + step]
            fed = [row + [0] * ((longest if step > 1 else len(row)) - len(row)) for row in rows]
            with torch.inference_mode():
                model(input_ids=torch.tensor(fed))
    return _memory_of("VmHWM") - before


def _memory_of(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {field}")


def dump(model: Any, file: Path) -> None:
    """Write ids and scores of the 10-label case."""
    from sft.inference.classification import score_labels

    case = make_case(10, ROWS[10])
    scores = score_labels(model, case.prompts, case.labels)
    content = {
        "model": {"class": "LlamaForCausalLM", "torch_manual_seed": 0, "dtype": "float32", "config": CONFIG},
        "prompts": case.prompts,
        "labels": case.labels,
        "sum_logprob": scores.sum_logprob_NL.tolist(),
        "end_logprob": scores.end_logprob_NL.tolist(),
        "first_logprob": scores.first_logprob_NL.tolist(),
    }
    file.write_text(json.dumps(content) + "\n", encoding="utf-8")


def table(report: dict[str, Any]) -> list[str]:
    """Return the figures as Markdown."""
    heads = [
        "labels", "prefix", "tree", "rows / CPU-s", "over the body alone", "over the bound", "x token by token",
        "x lm-eval", "max. difference",
    ]  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for labels in LABELS:
        if (figures := report.get(f"labels_{labels}")) is None:
            continue
        cells = [
            labels, make_case(labels, 1).prefix, figures["tree_nodes"], figures["rows_per_cpu_second"],
            figures["over_body_alone"], figures["over_bound"], figures["vs_token_by_token"],
            figures.get("vs_lm_eval", "-"), figures["max_abs_diff"],
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += [
        "",
        "One thread; ratios of CPU seconds per row, medians of three rounds in one run. The bound: every distinct "
        "token (prefix once, each row's own, each row's label tree) once through the model in plain causal "
        "batches of the best shape, head and log-softmax only where needed, plus attention without a mask to the "
        "prefix. The body alone excludes that attention, which exact scoring needs. Difference, in nats: from "
        "scoring without a cache.",
    ]
    if (used := report.get("memory")) is not None:
        lines += [
            "",
            f"Memory, 16 rows of the 77-label case: {used['engine_mb']} MB at most; plain forwards over the same rows, "
            f"one at a time: {used['plain_one_row_mb']} MB ({used['over_plain']} times that), 16 in a batch: "
            f"{used['plain_16_rows_mb']} MB.",
        ]
    return lines


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one round; not written to RESULTS.md")
    parser.add_argument("--cases", nargs="+", type=int, choices=LABELS, default=LABELS, help="number of labels")
    parser.add_argument("--no-lm-eval", action="store_true", help="leave out the slowest peer")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--dump", type=Path, help="write ids and scores of the 10-label case to this file")
    parser.add_argument("--peak", choices=("engine", "plain", "plain_of_16"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(peak(options.peak))
        return
    import torch

    torch.set_num_threads(1)
    model = make_model()
    if options.dump:
        dump(model, options.dump)
    report: dict[str, Any] = {}
    peer = None if options.no_lm_eval else _lm_eval(model)
    for labels in options.cases:
        report[f"labels_{labels}"] = measure(model, labels, peer, 1 if options.quick else 3)
        print(f"labels_{labels}", report[f"labels_{labels}"], flush=True)
    report["memory"] = memory()
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print("\n".join(table(report)))
    if not options.quick and len(report) == len(LABELS) + 1 and peer is not None:
        write_section("Label scoring", table(report), (*PACKAGES, "lm_eval"))


def _lm_eval(model: Any) -> Any:
    from scoring_peers import LmEval
    from transformers import AutoTokenizer

    return LmEval(model, AutoTokenizer.from_pretrained(DEMO_MODEL))


if __name__ == "__main__":
    main()
