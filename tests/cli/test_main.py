"""The commands from the command line: their files, output and exit codes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from sft.cli.main import app
from sft.evaluation.multilabel import best_threshold, yes_probabilities

MakeConfig = Callable[..., dict[str, Any]]
HEAVY = ("torch", "transformers", "datasets", "peft", "trl", "pandas", "scipy", "sklearn")


def finish(grid: Path, results: Path) -> None:
    """Write the plan of a grid, and a result for each of its experiments."""
    from sft.results.schema import RunResult
    from sft.results.store import ResultStore
    from sft.sweep.planning.check import load_plan
    from sft.sweep.planning.jobs import config_of, write_plan

    store, plan = ResultStore(results), load_plan(grid, None, "run-experiment")
    write_plan(plan, store)
    for experiment in plan.experiments:
        result = RunResult(
            name=experiment.name, id=experiment.id, recipe_id=experiment.recipe_id, seed=experiment.seed,
            endpoint="run-experiment", config=config_of(experiment), results={"accuracy": 0.5}, shots={},
            labelled_examples=0, training={}, timings={}, resources={}, environment={}, data={},
        )  # fmt: skip
        store.folder(experiment.id, experiment.slug).write_result(result)


def write(path: Path, config: dict[str, Any]) -> Path:
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def invoke(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sft.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=300)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run-experiments", "--help"],
        ["schema"],
        ["validate", "GRID"],
        ["run-experiments", "GRID", "--dry-run"],
        ["report", "RESULTS"],
        ["run-experiments", "GRID", "--results-path", "RESULTS"],
    ],
    ids=" ".join,
)
def test_the_light_commands_import_nothing_heavy(arguments: list[str], here: Path, make_config: MakeConfig) -> None:
    grid = write(here / "grid.json", {"configs": {"a": make_config(), "b": make_config(dataset__shots=0)}})
    results = here / "results"
    results.mkdir()
    write(results / "plan.json", {"experiments": []})
    if "RESULTS" in arguments:  # all experiments are done
        finish(grid, results)
    paths = {"GRID": str(grid), "RESULTS": str(results)}
    code = (
        "import sys; from sft.cli.main import main\n"
        f"sys.argv = ['sft', *{[paths.get(argument, argument) for argument in arguments]!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print(*[name for name in {(*HEAVY, 'numpy', 'scipy.stats', 'pyarrow')!r} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    statistics = {"numpy", "scipy", "pyarrow"} if arguments[0] == "report" else set()
    assert set(answer.stdout.splitlines()[-1].split()) <= statistics


def test_run_experiment_leaves_a_whole_run_folder(here: Path, make_config: MakeConfig) -> None:
    from safetensors.numpy import load_file

    config = write(here / "mine.json", make_config(dataset__validation_split="validation"))
    output = invoke("run-experiment", config)
    (folder,) = (here / "results" / "runs").iterdir()
    assert f"Run: {folder.relative_to(here)}" in output
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.json",
        "state.json",
        "result.json",
        "predictions.tsv",
        "label_scores.safetensors",
        "shots.json",
        "prompts.json",
    } <= names
    assert "checkpoints" not in names
    assert [prompt["role"] for prompt in json.loads((folder / "prompts.json").read_text())] == ["train", "test"]
    result = json.loads((folder / "result.json").read_text())
    assert result["name"] == "mine"
    assert result["seed"] == 13
    assert result["labelled_examples"] == 6
    assert {"accuracy", "macro_f1", "ece", "auroc", "confusion_matrix", "validation"} <= result["results"].keys()
    assert len(result["training"]["loss_history"]) == 2
    assert {"data", "load", "train", "answer", "total"} <= result["timings"].keys()
    with (folder / "predictions.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 9
    assert rows[0].keys() == {"text", "label", "predictions", "probabilities"}
    probabilities = json.loads(rows[0]["probabilities"])
    assert rows[0]["predictions"] == max(probabilities, key=probabilities.__getitem__)
    scores = load_file(folder / "label_scores.safetensors")
    assert scores["sum_logprob"].shape == (9, 3)
    weights = np.exp(scores["sum_logprob"][0] - scores["sum_logprob"][0].max())
    assert np.allclose(list(probabilities.values()), weights / weights.sum(), atol=1e-5)
    accuracy = sum(row["predictions"] == row["label"] for row in rows) / 9
    assert result["results"]["accuracy"] == pytest.approx(accuracy)
    assert "Already done" in invoke("run-experiment", config)


def test_the_same_seed_gives_the_same_scores(here: Path, make_config: MakeConfig) -> None:
    config = write(here / "mine.json", make_config())
    scores = []
    for name in ("one", "two"):
        invoke("run-experiment", config, "--results-path", here / name)
        (file,) = (here / name).glob("runs/*/label_scores.safetensors")
        scores.append(file.read_bytes())
    assert scores[0] == scores[1]
    invoke("run-experiment", config, "--results-path", here / "three", "--random-seed", "14")
    (file,) = (here / "three").glob("runs/*/label_scores.safetensors")
    assert file.read_bytes() != scores[0]


def test_train_then_evaluate_the_adapter_equals_run_experiment(here: Path, make_config: MakeConfig) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    output_dir = str(here / "adapter")
    config = make_config(training__trainer_args={"max_steps": 2, "learning_rate": 0.05, "output_dir": output_dir})
    assert f"Adapter: {output_dir}" in invoke("train", write(here / "train.json", config))
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(config["model"]["name"]), output_dir)
    evaluated = make_config(
        dataset__shots=0, model={**config["model"], "adapter": output_dir}, lora=None, training=None
    )
    invoke("evaluate", write(here / "evaluate.json", evaluated), "--results-path", here / "evaluated")
    invoke("run-experiment", write(here / "run.json", config), "--results-path", here / "run")
    predictions = [next((here / name).glob("runs/*/predictions.tsv")).read_text() for name in ("evaluated", "run")]
    assert predictions[0] == predictions[1]


def test_predict_resumes_where_it_stopped(here: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from sft import pipeline
    from sft.steps import questions

    inference = {"max_seq_length": 256, "calibration_args": {"calibration_fn": "batch"}}
    config = write(here / "mine.json", make_config(dataset__shots=0, lora=None, training=None, inference=inference))
    invoke("evaluate", config)
    evaluated = next(here.glob("results/runs/*/predictions.tsv"))
    monkeypatch.setattr(pipeline, "CHUNK", 9)
    score, calls = questions.score_part, []

    def failing(*arguments: Any) -> Any:
        calls.append(len(arguments[2]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(*arguments)

    monkeypatch.setattr(questions, "score_part", failing)
    CliRunner().invoke(app, ["predict", str(config), "--results-path", str(here / "resumed")])
    assert not list((here / "resumed").glob("*.tsv"))
    invoke("predict", config, "--results-path", here / "resumed")
    assert calls == [9, 9, 9, 9, 5]  # 9 rows, 3 content-free inputs, 20 of the domain
    (resumed,) = (here / "resumed").iterdir()
    tables = [list(csv.DictReader(file.read_text().splitlines(), delimiter="\t")) for file in (evaluated, resumed)]
    for row, other in zip(*tables, strict=True):
        assert row["predictions"] == other["predictions"]
        probabilities = [list(json.loads(each["probabilities"]).values()) for each in (row, other)]
        assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-5)


def test_generation_from_the_command_line(here: Path, make_config: MakeConfig) -> None:
    config = make_config(
        dataset__task_type="generation", dataset__shots=0, lora=None, training=None, prompting__max_output_length=5,
        inference={"icl_examples": 2, "icl_pool": "train"},
    )  # fmt: skip
    invoke("run-experiment", write(here / "mine.json", config))
    result = json.loads(next(here.glob("results/runs/*/result.json")).read_text())
    assert {"exact_match", "token_f1", "rougeL", "bleu", "chrf"} <= result["results"].keys()
    assert result["labelled_examples"] == 2
    assert not list(here.glob("results/runs/*/label_scores.safetensors"))


@pytest.mark.parametrize("chosen", ["balanced", "nearest"])
@pytest.mark.parametrize("random_icl", [False, True])
def test_in_context_examples_are_counted_and_saved(
    here: Path, make_config: MakeConfig, random_icl: bool, chosen: str
) -> None:
    inference = {"icl_examples": 1, "random_icl": random_icl, "icl_selection": chosen}
    config = make_config(dataset__shots=0, lora=None, training=None, inference=inference)
    invoke("run-experiment", write(here / "mine.json", config))
    shots = json.loads(next(here.glob("results/runs/*/shots.json")).read_text())["shown"]["test"]
    result = json.loads(next(here.glob("results/runs/*/result.json")).read_text())
    by_row = random_icl or chosen == "nearest"
    shown = {row for rows in shots["per_row"] for row in rows} if by_row else set(shots["fixed"])
    assert result["labelled_examples"] == len(shown)
    assert len(shown) > 3 if by_row else len(shown) == 3


def test_several_labels_per_row(here: Path, make_config: MakeConfig) -> None:
    words = {"hot": "sun", "wet": "rain", "loud": "thunder"}
    sets = [["hot"], ["wet", "loud"], [], ["loud", "hot"], ["wet"], ["hot", "wet", "loud"], ["loud"], []]
    for split in ("train", "test"):
        rows = [
            f"{split} {n} {' '.join(map(words.__getitem__, labels))},{'|'.join(labels)}"
            for n, labels in enumerate(sets)
        ]
        (here / "data").mkdir(exist_ok=True)
        (here / "data" / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    dataset = {"path": str(here / "data"), "task_type": "multilabel", "shots": 2, "label_separator": "|"}
    config = write(here / "mine.json", make_config(dataset=dataset))
    invoke("run-experiment", config)
    (folder,) = here.glob("results/runs/*")
    result = json.loads((folder / "result.json").read_text())
    figures = result["results"]
    assert {"macro_f1", "micro_f1", "sample_f1", "subset_accuracy", "threshold"} <= figures.keys()
    assert list(figures["per_label_f1"]) == ["hot", "loud", "wet"]
    assert figures["support"] == {"hot": 3, "loud": 4, "wet": 3}
    shots = json.loads((folder / "shots.json").read_text())
    assert set(shots["trained_on"]) == set(shots["calibration"]) == set(shots["indices"])
    assert result["labelled_examples"] == result["shots"]["trained_on"] == len(shots["indices"])
    assert result["shots"]["training_prompts"]["prompts"] == 3 * len(shots["indices"])
    with (folder / "predictions.tsv").open(newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    assert len(table) == 8
    for row in table:
        likely = [label for label, p in json.loads(row["probabilities"]).items() if p >= figures["threshold"]]
        assert json.loads(row["predictions"]) == likely
    from safetensors.numpy import load_file

    scores = load_file(folder / "label_scores.safetensors")
    assert scores["sum_logprob"].shape == (8, 6)
    assert scores["label"].tolist()[:2] == [[1, 0, 0], [0, 1, 1]]
    assert scores["train.label"].sum(axis=0).tolist() == list(shots["per_label"].values())
    on_shots = best_threshold(yes_probabilities(scores["train.sum_logprob"]), scores["train.label"] == 1)
    assert figures["threshold"] == on_shots != 0.5
    assert "macro F1" in invoke("report", here / "results")

    zero_shot = write(here / "zero.json", make_config(dataset={**dataset, "shots": 0}, lora=None, training=None))
    invoke("predict", zero_shot, "--results-path", here / "predicted")
    with next((here / "predicted").glob("*.tsv")).open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            assert json.loads(row["predictions"]) == [
                a for a, p in json.loads(row["probabilities"]).items() if p >= 0.5
            ]
    (prompt,) = map(json.loads, invoke("show-prompt", zero_shot, "--split", "test", "--n", "1", "--json").splitlines())
    assert list(prompt["labels"]) == ["hot: yes", "hot: no", "loud: yes", "loud: no", "wet: yes", "wet: no"]
    assert prompt["completion_ids"] == prompt["labels"]["hot: yes"]
    (trained,) = map(json.loads, invoke("show-prompt", config, "--n", "1", "--json").splitlines())
    assert 'question: Does the label "hot" apply?' in trained["text"]


def test_an_own_selection_of_examples(here: Path, make_config: MakeConfig) -> None:
    (here / "my_examples.py").write_text(
        "def last(wanted):\n    return [[i for i, t in enumerate(wanted.pool.texts) if t != asked][-wanted.total:]\n"
        "            for asked in wanted.asked]\n"
    )
    inference = {"icl_examples": 1, "icl_selection": "my_examples:last"}
    config = write(here / "mine.json", make_config(dataset__shots=0, lora=None, training=None, inference=inference))
    invoke("run-experiment", config)
    shots = json.loads(next(here.glob("results/runs/*/shots.json")).read_text())["shown"]["test"]
    assert shots == {"fixed": [9, 10, 11]}  # the same for each row, so stored once
    (shown,) = [
        json.loads(line) for line in invoke("show-prompt", config, "--split", "test", "--n", "1", "--json").splitlines()
    ]
    assert shown["text"].index("train 9 ") < shown["text"].index("train 11 ") < shown["text"].index("test 0 ")
    config = write(here / "typo.json", json.loads(config.read_text()) | {"inference": {"icl_selection": "nearst"}})
    error = str(CliRunner().invoke(app, ["validate", str(config)]).exception)
    assert 'inference.icl_selection: unknown way to choose examples "nearst"; did you mean "nearest"' in error


def test_show_prompt_as_json_and_as_text(here: Path, make_config: MakeConfig) -> None:
    config = write(here / "mine.json", make_config())
    rows = [json.loads(line) for line in invoke("show-prompt", config, "--json", "--n", "2").splitlines()]
    assert len(rows) == 2
    assert rows[0].keys() == {"row", "text", "prompt_ids", "completion_ids", "labels"}
    assert list(rows[0]["labels"]) == ["bad", "fine", "good"]
    assert rows[0]["completion_ids"] in rows[0]["labels"].values()
    shown = invoke("show-prompt", config, "--split", "test", "--n", "1")
    assert "test 0 awful" in shown
    assert "answer: what is trained on and scored" in shown


def test_a_user_initialiser_beside_the_config(here: Path, make_config: MakeConfig) -> None:
    folder = here / "elsewhere"
    folder.mkdir()
    (folder / "mine_init.py").write_text(
        "import torch\n\n\ndef ones(layer, rank, dtype):\n"
        '    """Every entry of A is one."""\n'
        "    out_features, in_features = layer.weight.shape\n"
        '    return {"lora_A": torch.ones(rank, in_features, dtype=dtype), '
        '"lora_B": torch.zeros(out_features, rank, dtype=dtype)}\n'
    )
    config = write(folder / "mine.json", make_config(lora__init_lora_weights="mine_init:ones"))
    assert run("run-experiment", config, cwd=here).returncode == 0
    (adapter,) = here.glob("results/runs/*/adapter/adapter_config.json")
    assert json.loads(adapter.read_text())["init_lora_weights"] is True


def test_the_schema_is_json(here: Path) -> None:
    assert "dataset" in json.loads(invoke("schema"))["properties"]
