"""Generated answers from the config to the files: stops, constraints, log-probabilities."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sft import pipeline
from sft.config.experiment import Experiment
from sft.config.sections.schema import Endpoint, ExperimentConfig
from sft.errors import MissingPackageError
from sft.inference.answer import TextAnswers
from sft.results.store import ResultStore
from sft.steps.evaluate import _settings
from sft.steps.setup import prepare

BY_ROW = ["exact_match", "token_f1", "rouge1", "rouge2", "rougeL"]
PLAIN_END = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n### end\n\n{% endfor %}"
PLAIN_END += "{% if add_generation_prompt %}### assistant:\n{% endif %}"


@pytest.fixture
def generating(make_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Experiment]:
    """An experiment on rows with columns named like those of the tool; `generating("predict", constrain={…})`."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [f"row {n},{word},{n},{-n}.5" for n, word in enumerate(["oak", "elm", "ash", "fir", "yew", "box"])]
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text("\n".join(["text,label,tokens,logprob", *rows]) + "\n", encoding="utf-8")

    def build(endpoint: Endpoint = "evaluate", **inference: Any) -> Experiment:
        config = make_config(
            dataset={"path": str(folder), "task_type": "generation"}, prompting__max_output_length=5, lora=None,
            training=None, inference={"max_seq_length": 256, **inference},
        )  # fmt: skip
        return Experiment("x", ExperimentConfig.model_validate(config), 13, endpoint)

    return build


def table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text, delimiter="\t"))


def evaluated(experiment: Experiment, folder: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    run = ResultStore(folder).folder(experiment.id, experiment.slug)
    results = pipeline.run(experiment, run).results
    return results, table(run.path / "predictions.tsv")


def test_log_probabilities_are_stored_and_data_keeps_its_own(generating: Any, tmp_path: Path) -> None:
    results, rows = evaluated(generating(), tmp_path / "results")
    ours = ["text", "label", "tokens_of_data", "logprob_of_data", "predictions", "logprob", "tokens"]
    assert list(rows[0]) == [*ours, *BY_ROW]
    assert [row["tokens_of_data"] for row in rows] == [str(n) for n in range(6)]
    assert all(float(row["logprob"]) < 0 and 1 <= int(row["tokens"]) <= 5 for row in rows)
    assert "unfinished_answers" not in results
    pipeline.predict(generating("predict"), tmp_path / "predictions")
    (file,) = (tmp_path / "predictions").glob("*.tsv")
    assert table(file) == [{name: row[name] for name in ours} for row in rows]


def test_each_row_has_its_metrics_whose_means_are_those_of_the_result(
    generating: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "test"):
        file = tmp_path / "data" / f"{split}.csv"
        file.write_text("text,label,rouge1\nrow 1,oak tree,a\nrow 2,the elm,b\nrow 3,Ash,c\n", encoding="utf-8")
    answers = iter([["oak leaf", "elm", "ash"]])
    monkeypatch.setattr(
        "sft.steps.evaluate.write", lambda *_: TextAnswers(tuple(next(answers)), np.zeros(3), np.ones(3))
    )
    results, rows = evaluated(generating(), tmp_path / "results")
    assert [row["rouge1_of_data"] for row in rows] == ["a", "b", "c"]
    assert [[row[name] for name in BY_ROW] for row in rows] == [
        ["0.0", "0.5", "0.5", "0.0", "0.5"],
        ["0.0", "1.0", "0.666667", "0.0", "0.666667"],  # ROUGE keeps the article, and the values have six digits
        ["0.0", "1.0", "1.0", "0.0", "1.0"],  # one word has no pairs
    ]
    for name in BY_ROW:
        assert results[name] == pytest.approx(sum(float(row[name]) for row in rows) / 3, abs=1e-6)


def test_answers_constrained_by_a_schema(generating: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("llguidance")
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    held = {"constrain": {"json_schema": schema}}
    results, rows = evaluated(generating(**held, generation_args={"max_new_tokens": 64}), tmp_path)
    assert {json.loads(row["predictions"])["a"] for row in rows} <= {1, 2}
    assert results["unfinished_answers"] == 0
    assert not caplog.records
    results, rows = evaluated(generating(**held), tmp_path)
    assert results["unfinished_answers"] == 6
    assert "6 of 6 answers ended before they satisfied inference.constrain: at 5 tokens" in caplog.text


def test_choices_and_stop_strings(generating: Any, tmp_path: Path) -> None:
    pytest.importorskip("llguidance")
    results, rows = evaluated(generating(constrain={"choices": ["oak", "elm"]}), tmp_path)
    assert {row["predictions"] for row in rows} <= {"oak", "elm"}
    assert results["exact_match"] == sum(row["predictions"] == row["label"] for row in rows) / 6
    _, stopped = evaluated(generating(constrain={"choices": ["oak", "elm"]}, stop_strings=["k", "lm"]), tmp_path)
    assert {row["predictions"] for row in stopped} <= {"oa", "e"}
    assert [int(row["tokens"]) for row in stopped] == [3] * 6, "letters of the answer, no end of turn"


def test_an_end_of_turn_that_is_a_longer_text(generating: Any, make_tokenizer: Any, model_folder: Path) -> None:
    assert _settings(prepare(generating())).stop_texts is None
    texts = _settings(prepare(generating(stop_strings=["\n\n", "\n\n", "x"]))).stop_texts
    assert texts is not None and texts.texts == ("\n\n", "x")
    setup = prepare(generating(stop_strings=["x"]))
    setup.plan.renderer._tokeniser = _other_renderer(setup, make_tokenizer)._tokeniser
    texts = _settings(setup).stop_texts
    assert texts is not None and texts.texts == ("x", "\n### end")


def _other_renderer(setup: Any, make_tokenizer: Any) -> Any:
    from sft.prompting.render import Renderer

    return Renderer(make_tokenizer(PLAIN_END), setup.config.prompting)


def test_a_missing_package_is_an_error_before_any_work(generating: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"constrain": {"choices": ["a"]}}
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingPackageError, match="pip install llguidance"):
        prepare(generating(**held))
    prepare(generating("train", **held))
