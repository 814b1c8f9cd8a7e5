"""Calibration of whole runs: scored probes and labelled rows, stored arrays, and the result."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sft import pipeline
from sft.calibration.apply import calibrate
from sft.calibration.base import Settings
from sft.calibration.kinds import KINDS
from sft.calibration.stored import SplitScores
from sft.config.experiment import Experiment
from sft.config.sections.schema import Endpoint, ExperimentConfig
from sft.errors import DataError
from sft.plugins import CALIBRATIONS
from sft.results.schema import RunResult
from sft.results.store import ResultStore, RunFolder
from sft.steps.calibrate import draw_sample, plan_scoring
from sft.steps.setup import Setup, prepare

MakeConfig = Callable[..., dict[str, Any]]
ZERO = {"dataset__shots": 0, "lora": None, "training": None}


def experiment_of(config: dict[str, Any], endpoint: Endpoint = "run-experiment", seed: int = 13) -> Experiment:
    return Experiment("x", ExperimentConfig.model_validate(config), seed, endpoint)


def run_in(results: Path, config: dict[str, Any], seed: int = 13) -> tuple[RunFolder, RunResult]:
    experiment = experiment_of(config, seed=seed)
    folder = ResultStore(results).folder(experiment.id, experiment.slug)
    return folder, pipeline.run(experiment, folder)


def setup_of(config: dict[str, Any], endpoint: Endpoint = "run-experiment", seed: int = 13) -> Setup:
    return prepare(experiment_of(config, endpoint, seed))


def inference(name: str | None = None, **settings: Any) -> dict[str, Any]:
    own = {key: settings.pop(key) for key in list(settings) if key.startswith(("num_", "gamma_", "language"))}
    calibration = {} if name is None else {"calibration_args": {"calibration_fn": name, **own}}
    return {"max_seq_length": 600, **settings, **calibration}


def shots_of(folder: RunFolder) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder.path / "shots.json").read_text())
    return record


@pytest.mark.parametrize("name", list(CALIBRATIONS))
def test_every_calibration_from_end_to_end(make_config: MakeConfig, tmp_path: Path, name: str) -> None:
    """The result of the run equals the result from the stored scores alone."""
    learns = CALIBRATIONS[name].labelled_rows > 0
    counts = "num_estimations" in CALIBRATIONS[name].settings and not learns
    settings = {"num_train_samples": 5} if learns else {"num_estimations": 4} if counts else {}
    random = CALIBRATIONS[name].per_row
    given = inference(name, icl_examples=1, random_icl=random, **settings)
    few = {"dataset__max_n_test": 5} if random else {}
    config = make_config(**ZERO, inference=given, dataset__validation_split="validation", **few)
    folder, result = run_in(tmp_path, config)
    for split, results in (("test", result.results), ("validation", result.results["validation"])):
        stored = SplitScores(folder.read_scores(split))
        calibrated = calibrate(name, stored.evidence("sum", Settings(settings.get("num_estimations"))))
        right = calibrated.probabilities_NL.argmax(axis=1) == stored.labels
        assert results["accuracy"] == pytest.approx(right.mean())
        truth = calibrated.probabilities_NL[np.arange(len(stored)), stored.labels]
        assert results["log_loss"] == pytest.approx(-np.log(truth).mean())
        assert results["calibration"] == {"calibration_fn": name, **calibrated.fitted}
        plain = stored.scores("sum").argmax(axis=1) == stored.labels
        assert (
            results["uncalibrated"]["accuracy"] == results["accuracy_by_scoring"]["sum"] == pytest.approx(plain.mean())
        )
        assert results["uncalibrated"].keys() == {"accuracy", "macro_f1", "ece", "brier", "log_loss"}
        assert stored.tensors["own_examples"].tolist() == [int(random)]
        assert ("train.sum_logprob" in stored.tensors) == learns
        assert stored.tensors["domain.sum_logprob"].shape == (4 if name.startswith("domain") else 20, 3)
    if learns:
        assert len(shots_of(folder)["calibration"]) == result.shots["calibrated_with"] == 5
        assert result.labelled_examples == 5 + 3
        assert result.results["calibration"] == result.results["validation"]["calibration"]
    else:
        assert shots_of(folder)["calibration"] == []


def test_probes_are_scored_in_every_run(make_config: MakeConfig, tmp_path: Path) -> None:
    folder, result = run_in(tmp_path, make_config(**ZERO, inference=inference()))
    stored = SplitScores(folder.read_scores())
    assert stored.tensors["content_free.sum_logprob"].shape == (3, 3)
    assert stored.tensors["domain.sum_logprob"].shape == (20, 3)
    assert not [name for name in stored.tensors if name.startswith("train")]
    assert list(result.results["accuracy_by_scoring"]) == list(KINDS)
    assert not {"calibration", "uncalibrated"} & result.results.keys()
    np.testing.assert_array_equal(stored.labels, np.arange(9) % 3)
    for name in ("contextual", "domain", "batch"):  # applied to stored scores, they equal a run that configures them
        _, named = run_in(tmp_path / name, make_config(**ZERO, inference=inference(name)))
        later = calibrate(name, stored.evidence("sum", Settings()))
        right = later.probabilities_NL.argmax(axis=1) == stored.labels
        truth = later.probabilities_NL[np.arange(len(stored)), stored.labels]
        assert named.results["accuracy"] == pytest.approx(right.mean())
        if name != "domain":  # its words depend on the seed if the result depends on them
            assert named.results["log_loss"] == pytest.approx(-np.log(truth).mean(), rel=1e-5)


def test_a_probe_scores_as_the_row_that_says_the_same(make_config: MakeConfig, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split, texts in (("train", ["awful", "plain", "lovely"]), ("test", ["N/A", "[MASK]", "dull"])):
        rows = "\n".join(f"{text},{label}" for text, label in zip(texts, ["bad", "fine", "good"], strict=True))
        (data / f"{split}.csv").write_text(f"text,label\n{rows}\n")
    config = make_config(**ZERO, dataset__path=str(data), inference=inference(icl_examples=1))
    folder, _ = run_in(tmp_path, config)
    stored = SplitScores(folder.read_scores())
    for kind in ("sum", "mean", "first"):
        probes = stored.scores(kind, "content_free")
        np.testing.assert_allclose(stored.scores(kind)[:2], probes[:2], atol=1e-4)
        assert np.abs(probes[0] - probes[2]).max() > 1e-3


def test_pmi_leads_if_it_is_configured(make_config: MakeConfig, tmp_path: Path) -> None:
    folder, result = run_in(tmp_path, make_config(**ZERO, inference=inference(label_scoring="pmi")))
    stored = SplitScores(folder.read_scores())
    right = stored.scores("pmi").argmax(axis=1) == stored.labels
    assert result.results["accuracy"] == pytest.approx(right.mean())
    assert next(iter(result.results["accuracy_by_scoring"])) == "pmi"


def test_probes_show_the_rows_own_examples(make_config: MakeConfig) -> None:
    config = make_config(**ZERO, inference=inference("contextual_per_sample", icl_examples=1, random_icl=True))
    setup = setup_of(config)
    prompts = setup.plan.evaluated("test")
    groups = {group.name: group for group in plan_scoring(setup, "test", prompts).groups}
    assert {name: group.shape for name, group in groups.items()} == {
        "": (9,), "content_free": (3,), "content_free_per_row": (9, 3), "domain": (20,),
    }  # fmt: skip
    row = 4
    for index, text in enumerate(("N/A", "[MASK]", "")):
        probe = groups["content_free_per_row"].prompts[row * 3 + index]
        assert probe.prompt.text == prompts.labelled[row].prompt.text.replace("test 4 plain", text)
    firsts = [groups["content_free"].prompts[index] for index in range(3)]
    assert [one.prompt.ids for one in firsts] == [
        groups["content_free_per_row"].prompts[index * 3 + index].prompt.ids for index in range(3)
    ]


def test_with_fixed_examples_no_row_has_probes_of_its_own(make_config: MakeConfig) -> None:
    config = make_config(**ZERO, inference=inference("domain_per_sample", icl_examples=1, num_estimations=4))
    setup = setup_of(config)
    prompts = setup.plan.evaluated("test")
    asked = plan_scoring(setup, "test", prompts)
    assert {group.name: group.shape for group in asked.groups} == {"": (9,), "content_free": (3,), "domain": (4,)}
    shared = prompts.labelled[0].prompt.text.partition("test 0 awful")[0]
    assert all(one.prompt.text.startswith(shared) for group in asked.groups for one in group.prompts)


def test_random_words_follow_the_seed_only_where_the_result_does(make_config: MakeConfig) -> None:
    def texts(name: str, seed: int) -> list[str]:
        setup = setup_of(make_config(**ZERO, inference=inference(name)), seed=seed)
        groups = {group.name: group for group in plan_scoring(setup, "test", setup.plan.evaluated("test")).groups}
        return [one.prompt.text for one in groups["domain"].prompts]

    assert texts("domain", 1) == texts("domain", 1)
    assert texts("domain", 1) != texts("domain", 2)
    assert texts("batch", 1) == texts("batch", 2)


@pytest.mark.parametrize("random_icl", [False, True])
def test_the_sample_was_neither_trained_on_nor_shown(make_config: MakeConfig, random_icl: bool) -> None:
    given = inference("supervised", num_train_samples=6, icl_examples=1, icl_pool="shots", random_icl=random_icl)
    setup = setup_of(make_config(inference=given))
    rows = draw_sample(setup).rows
    assert len(set(rows)) == 6
    assert not set(rows) & set(setup.task.shots.indices)
    assert setup.task.train is not None
    assert Counter(setup.task.train.answers[row] for row in rows) == {"bad": 2, "fine": 2, "good": 2}
    fixed = setup_of(make_config(**ZERO, inference={**given, "icl_pool": "train", "random_icl": False}))
    shown = set(fixed.plan.evaluated("test").shown[0])
    assert len(shown) == 3
    assert not shown & set(draw_sample(fixed).rows)


def test_they_are_seeded_and_fewer_are_the_first_of_more(make_config: MakeConfig) -> None:
    def rows(seed: int, count: int) -> tuple[int, ...]:
        config = make_config(**ZERO, inference=inference("supervised", num_train_samples=count))
        return draw_sample(setup_of(config, seed=seed)).rows

    assert rows(1, 6) == rows(1, 6)
    assert rows(1, 6) == rows(1, 9)[:6]
    assert rows(1, 6) != rows(2, 6)


def test_an_incomplete_round_favours_no_label(make_config: MakeConfig, caplog: pytest.LogCaptureFixture) -> None:
    first = set()
    for seed in range(8):
        setup = setup_of(make_config(**ZERO, inference=inference("supervised", num_train_samples=1)), seed=seed)
        assert setup.task.train is not None
        first.add(setup.task.train.answers[draw_sample(setup).rows[0]])
    assert first == {"bad", "fine", "good"}
    assert "2 of 3 labels have no row among the 1 labelled rows to calibrate with" in caplog.text


def test_no_evaluated_text_is_in_the_sample(make_config: MakeConfig, data_folder: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text((data_folder / f"{split}.csv").read_text())
    with (tmp_path / "train.csv").open("a") as file:
        file.write("test 0 awful,bad\n")
    config = make_config(**ZERO, dataset__path=str(tmp_path), inference=inference("supervised", num_train_samples=100))
    assert sorted(draw_sample(setup_of(config)).rows) == list(range(12))


def test_fewer_than_requested_are_used_and_none_is_an_error(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(draw_sample(setup_of(make_config(inference=inference("supervised")))).rows) == 6
    assert "Expected 128 labelled rows to calibrate with, only 6 are left: using these" in caplog.text
    none_left = make_config(dataset__shots=4, inference=inference("adjustable_batch"))
    with pytest.raises(DataError, match='"adjustable_batch" needs labelled rows that were neither trained on'):
        draw_sample(setup_of(none_left))
    checked = pipeline.check_data({"a": {"config": none_left, "endpoint": "run-experiment"}})
    assert "neither trained on nor shown" in checked["problems"]["a"]
    assert draw_sample(setup_of(none_left, "train")).rows == ()


def test_without_a_train_split_there_is_no_sample(make_config: MakeConfig, data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text((data_folder / "test.csv").read_text())
    config = make_config(**ZERO, dataset__path=str(tmp_path), inference=inference("supervised"))
    with pytest.raises(DataError, match='has no split "train"'):
        draw_sample(setup_of(config))


def test_rows_that_a_loaded_adapter_was_trained_on_are_left_out(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained = experiment_of(make_config(training__trainer_args={"output_dir": str(tmp_path / "adapter")}), "train")
    pipeline.train(trained)
    record = json.loads((tmp_path / "adapter" / "sft.json").read_text())
    config = make_config(**ZERO, model__adapter=str(tmp_path / "adapter"), inference=inference("supervised"))
    assert sorted(draw_sample(setup_of(config, "evaluate")).rows) == sorted(set(range(12)) - set(record["rows"]))
    _, result = run_in(tmp_path / "results", config)
    assert result.labelled_examples == 12
    assert "is unknown" not in caplog.text
    part = make_config(**ZERO, dataset__train_split="train[:6]", model__adapter=str(tmp_path / "adapter"))
    draw_sample(setup_of({**part, "inference": inference("supervised")}, "evaluate"))
    assert "model.adapter was trained on rows of another data set or slice" in caplog.text
    (tmp_path / "adapter" / "sft.json").unlink()
    assert len(draw_sample(setup_of(config, "evaluate")).rows) == 12
    assert "model.adapter has no sft.json: the calibration may use rows that it was trained on" in caplog.text


def test_a_users_own_calibration(make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_calibration.py").write_text(
        "import numpy as np\n\n"
        "def first(evidence):\n"
        "    assert evidence.domain_DL.shape == (20, 3) and evidence.labelled[0].shape == (4, 3)\n"
        "    return np.tile([0.5, 0.25, 0.25], (len(evidence.scores_NL), 1))\n"
    )
    config = make_config(**ZERO, inference=inference("my_calibration:first", num_train_samples=4))
    _, result = run_in(tmp_path, config)
    assert result.results["accuracy"] == pytest.approx(1 / 3)
    assert result.results["log_loss"] == pytest.approx(-np.log([0.5, 0.25, 0.25]).mean())
    assert result.labelled_examples == 4
