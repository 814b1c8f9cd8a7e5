"""A custom backend answers instead of transformers: its inputs, and the handling of its answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sft import pipeline
from sft.config.checking.checks import backend_problems
from sft.config.experiment import Experiment
from sft.config.reading.load import parse_config
from sft.config.sections.schema import ExperimentConfig
from sft.errors import UserError
from sft.plugins import BackendSpec
from sft.results.schema import RunResult
from sft.results.store import ResultStore, RunFolder

MakeConfig = Callable[..., dict[str, Any]]

OWN = '''
import json
import os
import sys

import numpy as np

from sft.inference.answer import TextAnswers
from sft.inference.scoring.scores import LabelScores


class ByLength:
    """Prefers the label with the fewest tokens; writes the number of tokens of the prompt."""

    engine = "by length"
    model = None

    def __init__(self, opening):
        self.log = os.environ["OWN_BACKEND_LOG"]
        self.say(adapter=opening.adapter and str(opening.adapter), model=opening.model.name)

    def say(self, **what):
        with open(self.log, "a") as file:
            file.write(json.dumps(what) + "\\n")

    def score_labels(self, prompts, labels, progress):
        lengths_L = np.array([len(ids) for ids in prompts[0].label_ids])
        scores_NL = np.tile(-lengths_L, (len(prompts), 1)).astype(np.float32)
        return LabelScores(scores_NL, scores_NL * 0, scores_NL, lengths_L)

    def generate(self, prompts, settings, progress):
        texts = tuple(str(len(prompt.ids)) for prompt in prompts)
        return TextAnswers(texts, np.zeros(len(texts)), np.ones(len(texts), dtype=np.int64))

    def close(self, succeeded):
        self.say(succeeded=succeeded)


class Broken(ByLength):
    def score_labels(self, prompts, labels, progress):
        raise RuntimeError("no answer")


class Unfinished(Broken):
    def close(self, succeeded):
        raise RuntimeError("not closed")


class Nothing(ByLength):
    def score_labels(self, prompts, labels, progress):
        return None

    def generate(self, prompts, settings, progress):
        return list(prompts)


class Infinite(ByLength):
    def score_labels(self, prompts, labels, progress):
        scores = super().score_labels(prompts, labels, progress)
        scores.sum_logprob_NL[0, 0] = -np.inf
        return scores


class Short(ByLength):
    def score_labels(self, prompts, labels, progress):
        return super().score_labels(prompts[1:], labels, progress)

    def generate(self, prompts, settings, progress):
        return super().generate(prompts[1:], settings, progress)
'''


@pytest.fixture
def run_own(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[RunFolder, RunResult]]:
    (tmp_path / "own_backend.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("OWN_BACKEND_LOG", str(tmp_path / "calls.jsonl"))

    def run(backend: str = "ByLength", **changes: Any) -> tuple[RunFolder, RunResult]:
        config = make_config(**{"inference__backend": f"own_backend:{backend}", **changes})
        experiment = Experiment("x", ExperimentConfig.model_validate(config), 13)
        folder = ResultStore(tmp_path / "results").folder(experiment.id, experiment.slug)
        return folder, pipeline.run(experiment, folder)

    return run


def calls(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]


ZERO: dict[str, Any] = {"dataset__shots": 0, "lora": None, "training": None}


def test_labels_are_scored_by_it_and_no_model_is_loaded(
    run_own: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sft.model import resident

    monkeypatch.setattr(resident, "load_model", lambda _: pytest.fail("a model was loaded"))
    folder, result = run_own(**ZERO)
    opened, closed = calls(tmp_path)
    assert opened["adapter"] is None
    assert closed == {"succeeded": True}
    assert result.results["scoring_engine"] == "by length"
    stored = folder.read_scores("test")
    np.testing.assert_array_equal(stored["sum_logprob"][0], -stored["token_count"].astype(np.float32))


def test_texts_are_generated_by_it(run_own: Callable[..., Any], make_config: MakeConfig) -> None:
    folder, _ = run_own(**ZERO, dataset__task_type="generation", prompting__max_output_length=3)
    rows = (folder.path / "predictions.tsv").read_text(encoding="utf-8").splitlines()
    header = rows[0].split("\t")
    assert all(row.split("\t")[header.index("predictions")].isdigit() for row in rows[1:])


def test_it_is_given_what_was_trained(run_own: Callable[..., Any], tmp_path: Path) -> None:
    folder, _ = run_own()
    opened = calls(tmp_path)[0]
    assert opened["adapter"] == str(folder.adapter)
    assert (folder.adapter / "adapter_model.safetensors").is_file()


def test_it_is_closed_when_the_run_fails(run_own: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no answer"):
        run_own("Broken", **ZERO)
    assert calls(tmp_path)[-1] == {"succeeded": False}


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("Short", r"expected sum_logprob of shape \[\d+, 3\], got"),
        ("Nothing", "expected LabelScores, got NoneType"),
        ("Infinite", "expected finite numbers in sum_logprob"),
    ],
)
def test_its_label_scores_are_checked(run_own: Callable[..., Any], backend: str, message: str) -> None:
    with pytest.raises(UserError, match=rf'"own_backend:{backend}": {message}'):
        run_own(backend, **ZERO)


@pytest.mark.parametrize(
    ("backend", "message"), [("Short", r"expected \d+ answers, got \d+"), ("Nothing", "expected TextAnswers, got list")]
)
def test_its_answers_are_checked(run_own: Callable[..., Any], backend: str, message: str) -> None:
    with pytest.raises(UserError, match=rf'"own_backend:{backend}": {message}'):
        run_own(backend, **ZERO, dataset__task_type="generation", prompting__max_output_length=3)


def test_an_error_while_closing_does_not_hide_the_error_of_the_run(
    run_own: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UserError, match="no answer"):
        run_own("Unfinished", **ZERO)
    assert "The backend could not be closed" in caplog.text


def test_the_backend_is_part_of_the_work_unless_it_is_the_default(make_config: MakeConfig) -> None:
    def id_of(**changes: Any) -> str:
        return Experiment("x", ExperimentConfig.model_validate(make_config(**changes)), 13).id

    assert id_of(inference__backend="transformers") == id_of()
    assert id_of(inference__backend="mine:Backend") != id_of()


def test_what_a_backend_lacks_is_a_problem_of_the_config(make_config: MakeConfig) -> None:
    spec = BackendSpec(
        "served", lacks={"label_scores": "it returns no prompt log-probabilities", "lm_eval": "no model"}
    )
    ((where, what),) = backend_problems(make_config(), spec)
    assert where == "inference.backend"
    assert what == '"served" lacks label scores: it returns no prompt log-probabilities'
    texts = make_config(dataset__task_type="generation", evaluation={"lm_eval": {"tasks": ["x"]}})
    assert [what for _, what in backend_problems(texts, spec)] == ['"served" lacks lm eval: no model']


def test_an_unknown_backend_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(UserError, match=r'inference.backend: unknown inference backend "vlm"'):
        parse_config(make_config(inference__backend="vlm"), "c.json", Path())
