"""Compare generated answers with transformers' `generate`: prompts of mixed lengths, and prompts with a shared prefix.

    python scripts/bench/generation.py [--quick] [--json FILE]

The peer takes the prompts in their order, in batches of the same size, padded on the left, like a loop over a data set.
Both answer greedily, in fp32, with a random Llama of 19 million parameters, and must give the same answers. One thread;
the two take turns, and a figure is the median of three rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

from record import write_section
from scoring_cases import END, make_model

BATCH, NEW_TOKENS, SEED = 16, 32, 0
Ids = list[int]


class Case(NamedTuple):
    """Prompts to answer.

    Attributes:
        name: name in the report.
        about: description in the table.
        aim: intended speed relative to the peer.
        prompts: lists of ids.
    """

    name: str
    about: str
    aim: float
    prompts: list[Ids]


def cases(vocabulary: int, count: int) -> list[Case]:
    """Return cases with lengths uniform in their logarithm, as of real texts: many short ones, a few long ones."""
    draw = random.Random(SEED)

    def ids(length: int) -> Ids:
        return [draw.randrange(vocabulary) for _ in range(length)]

    def lengths(least: int, most: int) -> list[int]:
        return [round(least * (most / least) ** draw.random()) for _ in range(count)]

    prefix = ids(400)
    return [
        Case("mixed", "16 to 768 tokens", 1.8, [ids(length) for length in lengths(16, 768)]),
        Case("shared_400", "400 shared, then 16 to 128", 3.0, [prefix + ids(length) for length in lengths(16, 128)]),
    ]


def by_transformers(model: Any, prompts: Sequence[Ids]) -> list[Ids]:
    """Return answers in batches, in the order of the prompts."""
    import torch
    from transformers import GenerationConfig

    config = GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=END, pad_token_id=END)
    answers: list[Ids] = []
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        longest = max(map(len, batch))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in batch])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in batch])
        output = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        answers += [row[: row.index(END)] if END in row else row for row in output[:, longest:].tolist()]
    return answers


def by_sft(model: Any, prompts: Sequence[Ids]) -> list[Ids]:
    """Return answers of the engine with batches of the same size."""
    from sft.inference.generating.engine import GenerationSettings, generate

    settings = GenerationSettings(NEW_TOKENS, (END,))
    return [answer.ids for answer in generate(model, prompts, settings, batch_size=BATCH)]


def timed(act: Callable[[Any, Sequence[Ids]], list[Ids]], model: Any, prompts: Sequence[Ids]) -> tuple[float, Any]:
    """Return CPU seconds and answers."""
    start = time.process_time()
    answers = act(model, prompts)
    return time.process_time() - start, answers


def measure(model: Any, case: Case, rounds: int) -> dict[str, Any]:
    """Measure both in turn."""
    ours, theirs, same = [], [], 0
    for _ in range(rounds):
        seconds, answers = timed(by_sft, model, case.prompts)
        ours.append(seconds)
        seconds, expected = timed(by_transformers, model, case.prompts)
        theirs.append(seconds)
        same = sum(a == b for a, b in zip(answers, expected, strict=True))
    report = {
        "vs_generate": round(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 2),
        "prompts_per_s": round(len(case.prompts) / statistics.median(ours), 2),
        "generate_prompts_per_s": round(len(case.prompts) / statistics.median(theirs), 2),
        "identical": f"{same}/{len(case.prompts)}",
    }
    print(case.name, report, flush=True)
    return report


def table(report: dict[str, Any], measured: Sequence[Case]) -> str:
    """Return the figures as Markdown."""
    lines = ["| prompts | sft, prompts/s | generate, prompts/s | ratio (aim) | same answers |", "|" + " --- |" * 5]
    for case in measured:
        figures = report[case.name]
        lines.append(
            f"| {case.about} | {figures['prompts_per_s']} | {figures['generate_prompts_per_s']} "
            f"| {figures['vs_generate']} ({case.aim}) | {figures['identical']} |"
        )
    lines += [
        "",
        f"{len(measured[0].prompts)} prompts of random tokens, {NEW_TOKENS} new tokens at most, greedy, batches of "
        f"{BATCH}; `generate` gets them unsorted. Random Llama of 19 million parameters, fp32, one thread; CPU time, "
        f"median of {report['rounds']} rounds, both within each.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one round, few prompts; not written to RESULTS.md")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    model = make_model()
    report: dict[str, Any] = {"rounds": 1 if options.quick else 3}
    measured = cases(model.config.vocab_size, 32 if options.quick else 64)
    for case in measured:
        report[case.name] = measure(model, case, report["rounds"])
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(table(report, measured))
    if not options.quick:
        write_section("Generation", table(report, measured).splitlines())


if __name__ == "__main__":
    main()
