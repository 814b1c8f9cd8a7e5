"""Fewer labelled rows than requested: the table and every file show how many were used."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sft import pipeline
from sft.cli.main import app
from sft.config.experiment import Experiment
from sft.config.sections.schema import ExperimentConfig
from sft.report.read.taken import CALIBRATED_WITH, SHOTS, SHOWN, SHOWN_IN_TRAINING, Taken, taken
from sft.results.schema import RunResult
from sft.results.store import ResultStore

MakeConfig = Callable[..., dict[str, Any]]


def ran(results: Path, name: str, config: dict[str, Any]) -> RunResult:
    experiment = Experiment(name, ExperimentConfig.model_validate(config), 13, "run-experiment")
    return pipeline.run(experiment, ResultStore(results).folder(experiment.id, experiment.slug))


def reported(results: Path) -> tuple[str, dict[str, str]]:
    """Return the printed report, and each file by its suffix."""
    output = CliRunner().invoke(app, ["report", str(results)])
    assert output.exit_code == 0, output.output
    files = {path.suffix: path.read_text(encoding="utf-8") for path in results.iterdir() if path.is_file()}
    return " ".join(output.output.split()), {ending: " ".join(text.split()) for ending, text in files.items()}


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """Return data with three labels: seven, five and two train rows."""
    folder = tmp_path / "uneven"
    folder.mkdir()
    for split, counts in (("train", (7, 5, 2)), ("test", (2, 2, 2))):
        rows = [
            f"{split} {label} {n},{label}" for label, count in zip("abc", counts, strict=True) for n in range(count)
        ]
        (folder / f"{split}.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return folder


def test_labels_with_fewer_rows(make_config: MakeConfig, uneven: Path, tmp_path: Path) -> None:
    for shots in (2, 500, 600):
        ran(tmp_path / "r", f"shots={shots}", make_config(dataset__path=str(uneven), dataset__shots=shots))
    printed, files = reported(tmp_path / "r")
    note = "Fewer shots than requested, since the train split has no more: 2 to 7 instead of 500 (shots=500)."
    for text in (printed, files[".md"], files[".html"], files[".tex"]):
        assert "500 (2-7)" in text
        assert "600 (2-7)" in text
        assert note in text.replace("\\=", "=")
        assert "2 (2" not in text
    rows = {row["settings"]["dataset.shots"]: row for row in json.loads(files[".json"])["rows"]}
    assert rows["500"]["taken"] == {SHOTS: {"asked": 500, "fewest": 2, "most": 7}}
    assert rows["2"]["taken"] == {SHOTS: {"asked": 2, "fewest": 2, "most": 2}}
    with (tmp_path / "r" / "aggregated_results.csv").open(encoding="utf-8", newline="") as file:
        sheet = {row["shots"]: row for row in csv.DictReader(file)}
    assert [sheet["500"][f"shots.{name}"] for name in ("asked", "fewest", "most")] == ["500", "2", "7"]
    assert [sheet["2"][f"shots.{name}"] for name in ("asked", "fewest", "most")] == ["2", "2", "2"]


def test_a_number_that_does_not_vary_is_shown_too(make_config: MakeConfig, uneven: Path, tmp_path: Path) -> None:
    for rank in (2, 4):
        config = make_config(dataset__path=str(uneven), dataset__shots=8, lora__r=rank)
        ran(tmp_path / "r", f"r={rank}", config)
    printed, files = reported(tmp_path / "r")
    assert printed.startswith("r shots labelled")
    assert printed.count("8 (2-7)") == 2
    assert all("8 (2-7)" in files[ending] for ending in (".md", ".html", ".tex"))


def test_enough_rows_and_all_rows_are_plain_numbers(make_config: MakeConfig, uneven: Path, tmp_path: Path) -> None:
    for shots in (1, 2, "all"):
        ran(tmp_path / "r", f"shots={shots}", make_config(dataset__path=str(uneven), dataset__shots=shots))
    printed, files = reported(tmp_path / "r")
    assert "Fewer shots" not in printed
    assert "(2" not in printed.partition("*")[0]
    assert "shots.asked" not in files[".csv"]


def test_texts_are_counted_in_all(make_config: MakeConfig, uneven: Path, tmp_path: Path) -> None:
    generation = {"dataset__path": str(uneven), "dataset__task_type": "generation"}
    for shots in (3, 50):
        config = make_config(
            **generation,
            dataset__shots=shots,
            inference={"max_seq_length": 256, "generation_args": {"max_new_tokens": 2}},
        )
        ran(tmp_path / "r", f"shots={shots}", config)
    printed, _ = reported(tmp_path / "r")
    assert "50 (14)" in printed
    assert "14 instead of 50 (shots=50)." in printed


def test_examples_that_are_not_there_or_do_not_fit(make_config: MakeConfig, uneven: Path, tmp_path: Path) -> None:
    base = {"dataset__path": str(uneven), "dataset__shots": 0, "lora": None, "training": None}
    for name, inference in {
        "few": {"icl_examples": 5, "max_seq_length": 2000},
        "cut": {"icl_examples": 2, "max_seq_length": 160},
        "fits": {"icl_examples": 1, "max_seq_length": 2000},
    }.items():
        ran(tmp_path / "r", name, make_config(**base, inference=inference))
    printed, files = reported(tmp_path / "r")
    rows = {row["name"]: row["taken"][SHOWN] for row in json.loads(files[".json"])["rows"]}
    assert rows["few"] == {"asked": 15, "fewest": 6, "most": 6}
    assert rows["fits"] == {"asked": 3, "fewest": 3, "most": 3}
    assert rows["cut"]["asked"] == 6
    assert rows["cut"]["most"] == 3
    assert "5 (2)" in printed
    assert "2 (1)" in printed
    assert "Fewer in-context examples in a prompt than requested: 6 instead of 15 (few)." in printed


def test_rows_to_calibrate_with(make_config: MakeConfig, uneven: Path, tmp_path: Path) -> None:
    base = {"dataset__path": str(uneven), "dataset__shots": 0, "lora": None, "training": None}
    for count in (6, 100):
        given = {"calibration_args": {"calibration_fn": "supervised", "num_train_samples": count}}
        ran(tmp_path / "r", f"n={count}", make_config(**base, inference={"max_seq_length": 600, **given}))
    printed, _ = reported(tmp_path / "r")
    assert "100 (14)" in printed
    assert "Fewer labelled rows for calibration than requested: 14 instead of 100 (n=100)." in printed


def result_with(shots: dict[str, Any]) -> RunResult:
    return RunResult(
        name="x", id="1", recipe_id="1", seed=13, endpoint="run-experiment", config={}, results={}, shots=shots,
        labelled_examples=0, training={}, timings={}, resources={}, environment={}, data={},
    )  # fmt: skip


def test_what_a_result_says_is_read_and_nothing_else(make_config: MakeConfig) -> None:
    config = ExperimentConfig.model_validate(
        make_config(
            dataset__shots=4, training={"icl_examples": 2}, inference={
                "icl_examples": 3, "calibration_args": {"calibration_fn": "adjustable_batch"},
            },
        )
    )  # fmt: skip
    shown = {"test": {"fewest": 4, "most": 9, "labels": 3}, "train": {"fewest": 5, "most": 6, "labels": 3}}
    full = {"drawn": 9, "per_label": {"a": 4, "b": 4, "c": 1}, "calibrated_with": 7, "examples_per_prompt": shown}
    assert taken(result_with(full), config) == (
        Taken(SHOTS, 4, 1, 4), Taken(SHOWN, 3, 4, 9, 3), Taken(SHOWN_IN_TRAINING, 2, 5, 6, 3),
        Taken(CALIBRATED_WITH, 128, 7, 7),
    )  # fmt: skip
    assert [one.numbers for one in taken(result_with(full), config)] == ["1-4", "4-9 of 9", "5-6 of 6", "7"]
    assert taken(result_with({}), config) == ()  # of an earlier version
    unused = {"drawn": 0, "per_label": {}, "calibrated_with": 0}
    assert taken(result_with(unused), config) == ()
