"""One run: predictions and label scores of every task type, and the error of a run without them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sft
from sft import pipeline
from sft.api.runs import Run, RunFailedError
from sft.config.experiment import Experiment
from sft.config.sections.schema import ExperimentConfig
from sft.errors import UserError
from sft.report.read.runs import run_of
from sft.results.schema import RunState
from sft.results.store import ResultStore

MakeConfig = Callable[..., dict[str, Any]]


def finished(config: dict[str, Any], root: Path) -> Run:
    """Run a config without shots in this process."""
    config = {key: value for key, value in config.items() if key not in ("lora", "training")}
    config = {**config, "dataset": {**config["dataset"], "shots": 0}}
    experiment = Experiment("x", ExperimentConfig.model_validate(config), 13, "run-experiment")
    store = ResultStore(root / "results")
    folder = store.folder(experiment.id, experiment.slug)
    pipeline.run(experiment, folder)
    found = run_of(store, folder)
    assert found is not None
    return Run(found)


def table(run: Run, split: str = "") -> list[dict[str, str]]:
    with (run.folder / f"predictions{split}.tsv").open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text, delimiter="\t"))


def test_labels(make_config: MakeConfig, tmp_path: Path) -> None:
    run = finished(make_config(dataset__validation_split="validation"), tmp_path)
    rows, frame, scores = table(run), run.predictions, run.label_scores
    assert frame[["text", "label", "predictions"]].to_dict("records") == [
        {name: row[name] for name in ("text", "label", "predictions")} for row in rows
    ]
    assert frame["probabilities"].tolist() == [json.loads(row["probabilities"]) for row in rows]
    assert scores.labels == ("bad", "fine", "good")
    assert len(scores) == 9
    assert scores.sum_logprob_NL.shape == scores.end_logprob_NL.shape == scores.first_logprob_NL.shape == (9, 3)
    assert scores.token_count_L.tolist() == [4, 5, 5]
    weights = np.exp(scores.sum_logprob_NL.astype(np.float64))
    np.testing.assert_allclose(scores.probabilities_NL, weights / weights.sum(axis=1, keepdims=True), rtol=1e-6)
    assert scores.reference_N is not None
    assert [scores.labels[column] for column in scores.reference_N] == frame["label"].tolist()
    assert [scores.labels[column] for column in scores.probabilities_NL.argmax(axis=1)] == frame["predictions"].tolist()
    assert scores.to_frame().columns.tolist() == ["bad", "fine", "good"]
    np.testing.assert_array_equal(scores.to_frame().to_numpy(), scores.probabilities_NL)
    assert run.metrics["accuracy"] == (frame["predictions"] == frame["label"]).mean()
    assert len(run.predictions_of("validation")) == len(run.label_scores_of("validation")) == 6
    assert run.predictions_of("validation")["text"].tolist() == [row["text"] for row in table(run, ".validation")]
    assert run.validation_metrics.keys() == run.metrics.keys()


def test_calibrated_labels(make_config: MakeConfig, tmp_path: Path) -> None:
    inference = {"max_seq_length": 256, "calibration_args": {"calibration_fn": "batch"}, "label_scoring": "mean"}
    run = finished(make_config(inference=inference), tmp_path)
    frame, scores = run.predictions, run.label_scores
    shown = np.array([[one[label] for label in scores.labels] for one in frame["probabilities"]])
    np.testing.assert_allclose(scores.probabilities_NL, shown, atol=1e-6)
    plain = np.exp(scores.sum_logprob_NL / scores.token_count_L)
    assert np.abs(plain / plain.sum(axis=1, keepdims=True) - shown).max() > 1e-3


def test_several_labels_a_row(make_config: MakeConfig, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = ["text,label", "one,hot", "two,hot|wet", "three,", "four,loud"]
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    dataset = {"path": str(folder), "task_type": "multilabel", "label_separator": "|"}
    run = finished(make_config(dataset=dataset), tmp_path)
    frame, scores = run.predictions, run.label_scores
    assert scores.labels == ("hot", "loud", "wet")
    assert scores.sum_logprob_NL.shape == (4, 3, 2)
    assert scores.token_count_L.shape == (3, 2)
    # the rest of the question, which is the same for both, then yes or no: a byte a token
    assert (scores.token_count_L[:, 0] - scores.token_count_L[:, 1]).tolist() == [1, 1, 1]
    assert (scores.token_count_L[:, 0] - [len(label) for label in scores.labels]).tolist() == [25, 25, 25]
    weights = np.exp(scores.sum_logprob_NL.astype(np.float64))
    np.testing.assert_allclose(scores.probabilities_NL, weights[..., 0] / weights.sum(axis=-1), rtol=1e-4)
    assert scores.reference_N is not None
    assert scores.reference_N.tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]]
    shown = np.array([[one[label] for label in scores.labels] for one in frame["probabilities"]])
    np.testing.assert_allclose(scores.probabilities_NL, shown, atol=1e-6)


def test_generated_texts(make_config: MakeConfig, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text("text,label,tokens\none,oak,007\ntwo,elm,1e5\n", encoding="utf-8")
    dataset = {"path": str(folder), "task_type": "generation"}
    run = finished(make_config(dataset=dataset, prompting__max_output_length=5), tmp_path)
    frame = run.predictions
    assert frame["tokens_of_data"].tolist() == ["007", "1e5"]  # the data's own stay text
    assert frame["tokens"].dtype == frame["logprob"].dtype == frame["exact_match"].dtype == "float64"
    assert (frame["logprob"] < 0).all()
    assert frame["exact_match"].mean() == run.metrics["exact_match"]
    with pytest.raises(UserError, match=r"^x generates texts: it has no label scores$"):
        _ = run.label_scores


def test_what_it_is(make_config: MakeConfig, tmp_path: Path) -> None:
    run = finished(make_config(), tmp_path)
    assert (run.name, run.status, run.error, run.seed) == ("x", "done", "", 13)
    assert re.fullmatch(r"[0-9a-f]{12}", run.id)
    assert run.recipe_id == run.id  # nothing is random
    assert run.folder == tmp_path / "results" / "runs" / f"x-{run.id}"
    assert run.log == run.folder / "log.txt"
    assert run.config["dataset"]["task_type"] == "classification"
    assert "seed" not in run.config
    assert repr(run).startswith("Run('x', done, accuracy ")
    with pytest.raises(UserError, match="x has no predictions of the validation split: it was not evaluated on it"):
        run.predictions_of("validation")


def test_a_changed_file_is_not_read(make_config: MakeConfig, tmp_path: Path) -> None:
    run = finished(make_config(), tmp_path)
    scores = run.folder / "label_scores.safetensors"
    scores.write_bytes(scores.read_bytes() + b" ")
    with pytest.raises(UserError, match=r"^x: label_scores\.safetensors is not the file that the run wrote"):
        _ = run.label_scores
    with pytest.raises(UserError, match=r"^x: label_scores\.safetensors is not"):
        _ = run.predictions
    (run.folder / "predictions.tsv").unlink()
    with pytest.raises(UserError, match="x has no predictions of the test split"):
        _ = run.predictions


def test_an_odd_table_of_an_early_result_is_reported(tmp_path: Path, make_config: MakeConfig) -> None:
    run = finished(make_config(), tmp_path)
    folder = run.recorded.folder
    result = folder.result()
    assert result is not None
    (run.folder / "predictions.tsv").write_text("text\tlabel\n" + "a\tbad\n" * 9)
    folder.write_result(result)
    with pytest.raises(UserError, match=r"^x: its files cannot be used \(ValueError: "):
        _ = run.predictions


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (RunState(state="failed", error="ValueError: boom"), r"failed \(ValueError: boom\); its log: .*/log\.txt"),
        (RunState(state="timeout", error="it took 5 s"), r"timed out \(it took 5 s\); its log: .*/log\.txt"),
        (RunState(state="running"), r"interrupted \(its process is gone\); its log: .*/log\.txt"),
        (None, "not run yet"),
    ],
)
def test_a_run_without_a_result_says_how_it_ended(
    make_config: MakeConfig, tmp_path: Path, state: RunState | None, text: str
) -> None:
    from sft.sweep.planning.check import load_plan
    from sft.sweep.planning.jobs import write_plan

    (tmp_path / "x.json").write_text(json.dumps(make_config()))
    plan, store = load_plan(tmp_path / "x.json", None, "run-experiment"), ResultStore(tmp_path / "results")
    write_plan(plan, store)
    if state is not None:
        folder = store.folder(plan.experiments[0].id, plan.experiments[0].slug)
        folder.write_state(state)
        folder.log_file.write_text("something\n")
    run = sft.load_results(store.root).run("x")
    for ask in (lambda: run.predictions, lambda: run.label_scores):
        with pytest.raises(RunFailedError, match=f"^x has no result: {text}$"):
            ask()
    assert run.metrics == run.validation_metrics == {}
