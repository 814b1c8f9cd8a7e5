"""A results folder of a made-up grid, and statistics to go with it: what the page's tests look at. No model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.report.comparison import Built, Comparison
from sft.report.page.details import detail_of
from sft.report.read.answers import answers_of
from sft.report.rows import compare
from sft.report.significance import Contrast, Interval, RowSignificance, RowsTest, Significance
from sft.results.schema import RunResult, RunState
from sft.results.store import ResultStore, RunFolder
from sft.sweep.planning.jobs import Plan, config_of, make_plan, write_plan

LABELS = ("negative", "neutral", "positive")
SEEDS = (13, 14, 15)
PROMPTS = [
    {
        "role": role, "row": 3, "prompt_tokens": 57, "answer_tokens": 3,
        "pieces": [
            {"text": "<|im_start|>user\n", "kind": "template", "trained": False},
            {"text": "Label this review.", "kind": "instruction", "trained": False},
            {"text": "\n", "kind": "template", "trained": False},
            {"text": "We got the yo-yo. The quality is so beautiful.", "kind": "input", "trained": False},
            {"text": "<|im_end|>\n<|im_start|>assistant\n", "kind": "template", "trained": False},
            {"text": "positive<|im_end|>", "kind": "completion", "trained": role == "train"},
        ],
    }
    for role in ("train", "test")
]  # fmt: skip


def config(shots: int, r: int = 8, init: str = "pca", lr: float = 1e-3, icl: int = 0) -> ExperimentConfig:
    data: dict[str, Any] = {
        "dataset": {"path": "hub/data", "task_type": "classification", "shots": shots},
        "model": {"name": "hub/model"},
        "prompting": {"input_columns": ["text"], "output_column": "label", "instruction": "Label this review."},
        "inference": {"icl_examples": icl},
    }
    if shots:
        data |= {"lora": {"r": r, "init_lora_weights": init}, "training": {"trainer_args": {"learning_rate": lr}}}
    return ExperimentConfig.model_validate(data)


def small_grid() -> dict[str, ExperimentConfig]:
    """Zero-shot, and shots by initialisers: seven rows."""
    pairs = itertools.product((4, 16, 64), ("pca", "pissa"))
    return {"shots=0": config(0), **{f"shots={n} init={init}": config(n, init=init) for n, init in pairs}}


def results_of(
    root: Path, grid: Mapping[str, ExperimentConfig], rows: int = 60, fails: Sequence[int] = ()
) -> ResultStore:
    """A results folder with every experiment of the grid done, but those whose number is in `fails`."""
    store = ResultStore(root)
    plan = make_plan(Grid(Path("grid.jsonnet"), grid, SEEDS), None)
    write_plan(plan, store)
    for number in range(len(plan.experiments)):
        experiment = plan.experiments[number]
        folder = store.folder(experiment.id, experiment.slug)
        folder.path.mkdir(parents=True)
        folder.log_file.write_text("train 1/70\ntrain 70/70 loss 0.16\nscore 60/60\n", encoding="utf-8")
        if number in fails:
            folder.write_state(RunState(state="oom", error="CUDA out of memory, tried 2 GiB", exit_code=1))
        else:
            _finish(folder, plan, number, rows)
    return store


def built_of(store: ResultStore, with_statistics: bool = True) -> Built:
    """The comparison with statistics made up for it, and the records of its runs' pages."""
    comparison = compare(store)
    bases = {run.id: comparison.rows[0].runs[0] for row in comparison.rows[1:] for run in row.runs}
    details = {run.id: detail_of(run, answers_of(run), bases.get(run.id)) for run in comparison.runs}
    return Built(
        replace(comparison, significance=_significance(comparison)) if with_statistics else comparison, details
    )


def _significance(comparison: Comparison) -> Significance:
    rows: dict[tuple[int, str], RowSignificance] = {}
    for index, key in itertools.product(range(len(comparison.rows)), comparison.metrics):
        found, base = comparison.rows[index].estimate(key), comparison.rows[0].estimate(key)
        if found is not None and base is not None:
            way = "t over 3 seeds" if found.std is not None else "bootstrap over test rows"
            interval = Interval(found.mean - 0.04, found.mean + 0.03, way)
            tied = index in comparison.best.get(key, ()) or index % 3 == 1
            rows[index, key] = RowSignificance(interval, _contrast(found.mean - base.mean) if index else None, tied)
    runs = {
        (run.id, key): Interval(value - 0.05, value + 0.04, "BCa bootstrap over test rows")
        for run in comparison.runs
        for key, value in run.metrics().items()
    }
    methods = ("Intervals over seeds: Student's t, n - 1 degrees of freedom.", "Tests: paired, corrected by Holm.")
    return Significance(rows, runs, methods)


def _contrast(difference: float) -> Contrast:
    p = max(0.0001, 0.2 - abs(difference))
    interval = Interval(difference - 0.05, difference + 0.05, "over rows and 3 seeds")
    models = RowsTest(p / 4, p / 2, "permutation of 9,999")
    return Contrast(difference, difference * 2, interval, p, min(1.0, 3 * p), "over rows and 3 seeds", models)


def _finish(folder: RunFolder, plan: Plan, number: int, rows: int) -> None:
    experiment = plan.experiments[number]
    chance, shots = np.random.default_rng(number), experiment.config.dataset.shots
    assert isinstance(shots, int)
    truth_N = np.arange(rows) % len(LABELS)
    skill = 0.2 + 0.45 * shots**0.25 + 0.3 * chance.random()
    logits_NL = chance.normal(size=(rows, len(LABELS))) + skill * np.eye(len(LABELS))[truth_N]
    probabilities_NL = np.exp(logits_NL) / np.exp(logits_NL).sum(axis=1, keepdims=True)
    predicted_N = probabilities_NL.argmax(axis=1)
    folder.write_predictions({
        "text": [f"We got the thing {row}. It is rather typical, and the box was on the porch." for row in range(rows)],
        "label": [LABELS[label] for label in truth_N], "predictions": [LABELS[label] for label in predicted_N],
        "probabilities": [json.dumps(dict(zip(LABELS, p, strict=True))) for p in probabilities_NL.round(6).tolist()],
    })  # fmt: skip
    accuracy = float((truth_N == predicted_N).mean())
    results = {
        "accuracy": accuracy, "macro_f1": accuracy - 0.01, "ece": float(0.2 * chance.random()),
        "mcc": accuracy - 0.2, "confusion_matrix": [], "support": dict.fromkeys(LABELS, rows // len(LABELS)),
    }  # fmt: skip
    (folder.path / "prompts.json").write_text(json.dumps(PROMPTS if shots else PROMPTS[1:]), encoding="utf-8")
    history = [{"step": step, "loss": 3 / step**0.5 + 0.1 * float(chance.random())} for step in range(1, 71)]
    folder.write_result(RunResult(
        name=experiment.name, id=experiment.id, recipe_id=experiment.recipe_id, seed=experiment.seed,
        endpoint="run-experiment", config=config_of(experiment), results=results, shots={},
        labelled_examples=3 * shots, training={"loss_history": history} if shots else {},
        timings={"train": 8.5, "total": 9.4}, resources={"device": "cpu", "threads": 1},
        environment={"python": "3.11.7", "packages": {"torch": "2.13.0"}},
        data={"sha256": "one", "rows": {"test": rows}},
    ))  # fmt: skip
    folder.write_state(RunState(state="done"))
