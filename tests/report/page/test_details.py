"""Records of run pages: summaries of a run's answers, of bounded size."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import precision_recall_fscore_support

from sft.config.sections.schema import ExperimentConfig
from sft.evaluation.calibration_error import calibration_error
from sft.report.comparison import Comparison
from sft.report.page.details import detail_of
from sft.report.page.shortened import shortened
from sft.report.read.answers import Answers, answers_of
from sft.report.read.difference import config_difference
from sft.report.read.inspection import inspect, reliability_bins
from sft.report.read.runs import Run
from sft.report.rows import compare

sys.path.insert(0, str(Path(__file__).parent.parent))
from grids import LABELS, config, results_of


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Return a zero-shot row and a row of 16 shots whose last run ran out of memory."""
    grid = {"shots=0": config(0), "shots=16": config(16)}
    return compare(results_of(tmp_path_factory.mktemp("results"), grid, fails=(3,)))


def trained(comparison: Comparison) -> Run:
    return comparison.rows[1].runs[0]


def of(task: str, columns: Mapping[str, Sequence[str]], labels: Sequence[str] = ()) -> Answers:
    data = {
        "dataset": {"path": "hub/data", "task_type": task, **({"labels": list(labels)} if labels else {})},
        "model": {"name": "hub/model"},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "inference": {},
    }
    return Answers(pa.table(dict(columns)), ExperimentConfig.model_validate(data), tuple(labels), None)


def test_a_record_describes_its_run(comparison: Comparison) -> None:
    run, base = trained(comparison), comparison.rows[0].runs[0]
    found = detail_of(run, answers_of(run), base)
    assert (found["name"], found["seed"], found["state"], found["labelled"]) == ("shots=16 seed=13", 13, "done", 48)
    assert found["baseline"] == "shots=0"
    assert ["dataset.shots", "0", "16"] in found["diff"]
    assert ["lora.init_lora_weights", "-", "pca"] in found["diff"]
    assert found["metrics"][0] == ["accuracy", pytest.approx(run.metrics()["accuracy"]), None]
    assert len(found["loss"]["training"]) == 70
    assert found["prompts"][0]["pieces"][-1] == ["completion", 1, "positive<|im_end|>"]
    assert found["config"]["lora"]["init_lora_weights"] == "pca"
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert detail_of(base, answers_of(base), None).keys().isdisjoint({"diff", "baseline", "loss"})


def test_a_failed_run_shows_the_end_of_its_log_without_secrets(comparison: Comparison) -> None:
    (run,) = comparison.unfinished
    lines = [f"line {number}" for number in range(40)]
    secret = "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH"
    run.folder.log_file.write_text("\n".join([*lines, "x" * 1000, f"token {secret}", "\x1b[31mred"]), encoding="utf-8")
    found = detail_of(run, None, None)
    assert found["state"] == "out of memory"
    assert found["error"].startswith("CUDA out of memory")
    assert len(found["log"]) == 20
    assert len(found["log"][-3]) == 300
    assert secret not in str(found)
    assert secret not in str(detail_of(replace(run, error=f"token {secret}"), None, None)["error"])
    assert "\x1b" not in str(found["log"])
    done = trained(comparison)
    done.folder.log_file.write_text("\n".join(lines), encoding="utf-8")
    assert len(detail_of(done, None, None)["log"]) == 5
    done.folder.log_file.write_text("\n".join([*lines, "UserWarning: look"]), encoding="utf-8")
    assert len(detail_of(done, None, None)["log"]) == 20


def test_the_log_leaves_out_what_the_page_shows_already(comparison: Comparison) -> None:
    done, (failed,) = trained(comparison), comparison.unfinished
    metrics = json.dumps({f"metric_{index}": index / 50 for index in range(50)}, indent=2)
    done.folder.log_file.write_text(f"score 60/60\nscore 60/60\n{metrics}\nRun: here\n", encoding="utf-8")
    assert detail_of(done, None, None)["log"] == ["score 60/60"]
    done.folder.log_file.write_text('{\n"not": "the end"\n}\nscore 60/60\n', encoding="utf-8")
    assert len(detail_of(done, None, None)["log"]) == 4
    failed.folder.log_file.write_text(f"train 1/70\n{failed.error}\nerror: {failed.error}\n", encoding="utf-8")
    assert detail_of(failed, None, None)["log"] == ["train 1/70"]
    failed.folder.log_file.write_text(f"{metrics}\n{failed.error}\n", encoding="utf-8")
    assert detail_of(failed, None, None)["log"][-1] == "}"


def test_a_deterministic_run_has_no_seed(comparison: Comparison) -> None:
    run = comparison.rows[0].runs[0]
    assert run.is_fixed
    assert "seed" not in detail_of(run, None, None)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '[{"role": "test"}]', '[{"pieces": [{}], "role": 1}]'])
def test_broken_prompts_are_left_out(comparison: Comparison, text: str) -> None:
    run = comparison.rows[1].runs[1]
    (run.folder.path / "prompts.json").write_text(text, encoding="utf-8")
    assert "prompts" not in detail_of(run, None, None)


def test_very_long_prompts_are_cut(comparison: Comparison) -> None:
    run = comparison.rows[1].runs[1]
    pieces = [{"text": f"{index} " + "x" * 5000, "kind": "input", "trained": False} for index in range(300)]
    (run.folder.path / "prompts.json").write_text(json.dumps([{"role": "test", "pieces": pieces}] * 9))
    result = run.folder.result()
    assert result is not None
    run.folder.write_result(result)
    found = detail_of(run, None, None)["prompts"]
    assert len(found) == 2
    assert [piece[2][:3] for piece in found[0]["pieces"]][::24] == ["0 x", "299"]
    assert "276 more pieces" in found[0]["pieces"][12][2]
    assert len(json.dumps(found)) < 40_000


def test_scores_of_labels_are_those_of_scikit_learn(comparison: Comparison) -> None:
    answers = answers_of(trained(comparison))
    assert answers is not None
    found = inspect(answers, trained(comparison))
    expected = precision_recall_fscore_support(answers.reference_N, answers.predicted_N, zero_division=0)
    for index, scores in enumerate(found["per_label"]):
        assert scores == pytest.approx([index, *(one[index] for one in expected)], abs=1e-4)
    assert sum(rows for _, _, rows in found["confusion"]) == len(answers)
    right = sum(rows for reference, prediction, rows in found["confusion"] if reference == prediction)
    assert found["wrong"] == len(answers) - right


def test_bins_are_those_of_the_calibration_error() -> None:
    chance = np.random.default_rng(0)
    probabilities_NL = chance.dirichlet(np.ones(4), size=500)
    reference_N = chance.integers(4, size=500)
    bins = np.array(reliability_bins(probabilities_NL, reference_N, 15))
    correct = probabilities_NL.argmax(axis=1) == reference_N
    error = (bins[:, 2] * abs(bins[:, 0] - bins[:, 1])).sum() / 500
    assert error == pytest.approx(calibration_error(probabilities_NL.max(axis=1), correct, 15), abs=1e-4)


def test_errors_are_those_that_the_run_was_surest_of(comparison: Comparison) -> None:
    texts = ["a" * 1000, "right", "sure", "unsure"]
    chances = [[0.2, 0.8], [0.9, 0.1], [0.01, 0.99], [0.45, 0.55]]
    answers = of("classification", {
        "text": texts, "label": ["no", "no", "no", "no"], "predictions": ["yes", "no", "yes", "yes"],
        "probabilities": [json.dumps(dict(zip(("no", "yes"), one, strict=True))) for one in chances],
    }, ("no", "yes"))  # fmt: skip
    found = inspect(answers, trained(comparison))
    assert [error["row"] for error in found["errors"]] == [2, 0, 3]
    assert found["errors"][0] == {
        "row": 2, "inputs": [["text", "sure"]], "reference": "no", "prediction": "yes",
        "top": [["yes", 0.99], ["no", 0.01]],
    }  # fmt: skip
    assert len(found["errors"][1]["inputs"][0][1]) == 400
    assert found["wrong"] == 3


def test_predictions_outside_the_labels_are_wrong_and_in_no_cell(comparison: Comparison) -> None:
    columns = {"text": ["a", "b"], "label": ["no", "yes"], "predictions": ["?", "yes"]}
    found = inspect(of("classification", columns, ("no", "yes")), trained(comparison))
    assert found["confusion"] == [[1, 1, 1]]
    assert found["errors"][0]["prediction"] == "?"
    assert found["per_label"][0] == [0, 0, 0, 0, 1]


def test_a_calibrated_run_shows_what_it_was_before(comparison: Comparison) -> None:
    run = trained(comparison)
    answers = answers_of(run)
    assert answers is not None
    count = len(answers)
    before_NL = np.random.default_rng(1).normal(size=(count, len(LABELS))).astype(np.float32)
    run.folder.write_scores({
        "sum_logprob": before_NL, "first_logprob": before_NL, "end_logprob": before_NL,
        "token_count": np.ones((count, 3), np.int64), "label": answers.reference_N,
    })  # fmt: skip
    assert list(inspect(answers, run)["reliability"]) == ["as answered"]
    changed = replace(answers, changed_probabilities_NL=answers.probabilities_NL)
    found = inspect(changed, run)["reliability"]
    assert list(found) == ["calibrated", "uncalibrated"]
    exponential = np.exp(before_NL.astype(np.float64))
    expected = reliability_bins(exponential / exponential.sum(axis=1, keepdims=True), answers.reference_N, 15)
    assert np.allclose(found["uncalibrated"], expected, atol=1e-3)


def test_errors_of_generated_texts_are_those_with_the_least_in_common(comparison: Comparison) -> None:
    columns = {
        "text": ["a", "b", "c"], "label": ["x y", "x y", "x y"], "predictions": ["x", "x y", "z"],
        "token_f1": ["0.666667", "1", "0"],
    }  # fmt: skip
    found = inspect(of("generation", columns), trained(comparison))
    assert [error["row"] for error in found["errors"]] == [2, 0]
    assert found["errors"][0]["top"] == [["token F1", 0]]
    without = {key: value for key, value in columns.items() if key != "token_f1"}
    assert inspect(of("generation", without), trained(comparison))["wrong"] == 2


def test_errors_of_sets_of_labels_are_those_with_the_most_wrong(comparison: Comparison) -> None:
    columns = {
        "text": ["a", "b", "c"], "label": ['["x"]', '["x", "y"]', "[]"], "predictions": ['["x"]', "[]", '["y"]'],
    }  # fmt: skip
    found = inspect(of("multilabel", columns, ("x", "y")), trained(comparison))
    assert [error["row"] for error in found["errors"]] == [1, 2]
    assert found["per_label"] == [[0, 1, 0.5, 0.6667, 2], [1, 0, 0, 0, 1]]


def test_errors_of_sets_of_labels_show_the_most_probable_ones(comparison: Comparison) -> None:
    labels = tuple("abcdef")
    columns = {
        "text": ["one"], "label": ['["a", "b", "c"]'], "predictions": ['["e"]'],
        "probabilities": [json.dumps(dict(zip(labels, (0.1, 0.2, 0.3, 0.05, 0.9, 0.4), strict=True)))],
    }  # fmt: skip
    (error,) = inspect(of("multilabel", columns, labels), trained(comparison))["errors"]
    assert error["top"] == [["e", 0.9], ["f", 0.4], ["c", 0.3]]


def test_many_labels_make_a_bounded_record(comparison: Comparison) -> None:
    labels = [f"label {number}" for number in range(300)]
    chance = np.random.default_rng(0)
    truth, given = (chance.integers(300, size=5000) for _ in range(2))
    columns = {
        "text": ["a"] * 5000, "label": [labels[one] for one in truth], "predictions": [labels[one] for one in given],
    }  # fmt: skip
    found = inspect(of("classification", columns, labels), trained(comparison))
    assert len(found["confusion"]) == 400
    assert found["confusion_left_out"] > 1000
    assert len(found["per_label"]) == 200


def test_configurations_that_look_the_same_differ_in_full() -> None:
    one, other = (config(4).model_copy(update={"model": config(4).model.model_copy(update={"name": name})})  # type: ignore[union-attr]
                  for name in ("here/model", "there/model"))  # fmt: skip
    assert config_difference(one, other) == [["model.name", "here/model", "there/model"]]
    assert config_difference(one, one) == []


def test_records_are_shortened_step_by_step(comparison: Comparison) -> None:
    runs = [run for row in comparison.rows for run in row.runs]
    records = {run.id: detail_of(run, answers_of(run), comparison.rows[0].runs[0]) for run in runs}
    whole, left_out = shortened(records)
    assert left_out == []
    size = sum(map(len, whole.texts.values()))
    assert len(whole.shared["config"]) == 2  # one for each configuration
    shorter, left_out = shortened(records, size)
    page = json.loads(shorter.texts[runs[1].id])
    assert left_out
    assert len(page["errors"]) <= 5
    assert page["confusion"]
    shortest, left_out = shortened(records, 10)
    page = json.loads(shortest.texts[runs[1].id])
    assert page["metrics"]
    assert page.keys().isdisjoint({"errors", "log", "loss", "prompts", "confusion"})
    assert len(left_out) == 7
