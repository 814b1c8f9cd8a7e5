"""The CSV: all metrics and statistics in full precision, empty cells for unknown values, and no formula."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.report.comparison import Comparison, Row
from sft.report.formats.spreadsheet import defused, render_csv
from sft.report.rows import compare
from sft.report.significance import Contrast, Gap, Interval, RowSignificance, RowsTest, Significance
from sft.results.schema import RunResult
from sft.results.store import ResultStore
from sft.sweep.planning.jobs import config_of, make_plan, write_plan


def config(shots: int, rate: float = 0.00012345678) -> ExperimentConfig:
    data: dict[str, Any] = {
        "dataset": {"path": "hub/data", "task_type": "classification", "shots": shots},
        "model": {"name": "hub/model"},
        "lora": {"r": 8, "init_lora_weights": shots != 8 or "pca"},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "training": {"trainer_args": {"learning_rate": rate}},
        "inference": {},
    }
    return ExperimentConfig.model_validate(data)


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """Return zero-shot, 4 and 8 shots with two seeds. The last row lacks a run; one row has validation figures."""
    configs = {"shots=0": config(0), "shots=4": config(4), "shots=8": config(8, 0.5)}
    made = make_plan(Grid(Path("grid.jsonnet"), configs, (13, 14)), None)
    store = ResultStore(tmp_path)
    write_plan(made, store)
    for number, experiment in enumerate(made.experiments[:-1]):
        results: dict[str, Any] = {"accuracy": 0.1 + 0.1 * number, "mcc": 1 / 3, "confusion_matrix": [[1]]}
        if number == 0:
            results["validation"] = {"accuracy": 0.25}
        result = RunResult(
            name=experiment.name, id=experiment.id, recipe_id=experiment.recipe_id, seed=experiment.seed,
            endpoint="run-experiment", config=config_of(experiment), results=results, shots={},
            labelled_examples=number * 3, training={}, timings={}, resources={}, environment={}, data={},
        )  # fmt: skip
        store.folder(experiment.id, experiment.slug).write_result(result)
    return compare(store)


def lines(comparison: Comparison) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render_csv(comparison), newline=""), strict=True))


def test_a_line_for_each_configuration_with_all_its_metrics_in_full(comparison: Comparison) -> None:
    zero, four, eight = lines(comparison)
    assert [row["name"] for row in (zero, four, eight)] == ["shots=0", "shots=4", "shots=8"]
    assert [float(row["accuracy.mean"]) for row in (zero, four, eight)] == [0.1, pytest.approx(0.25), 0.4]
    estimate = comparison.rows[1].estimate("accuracy")
    assert estimate is not None
    assert float(four["accuracy.std"]) == estimate.std
    assert zero["mcc.mean"] == repr(1 / 3)  # not among the shown ones
    assert (zero["accuracy.std"], eight["accuracy.std"]) == ("", "")
    assert (four["labelled_examples"], four["labelled_examples_max"]) == ("3", "6")
    assert (eight["finished"], eight["planned"]) == ("1", "2")
    assert (zero["validation.accuracy.mean"], four["validation.accuracy.mean"]) == ("0.25", "")
    assert list(zero)[-2:] == ["validation.accuracy.mean", "validation.accuracy.std"]
    assert "confusion_matrix.mean" not in zero


def test_settings_are_columns_in_full_and_empty_where_there_are_none(comparison: Comparison) -> None:
    zero, four, eight = lines(comparison)
    assert list(zero)[1:4] == ["shots", "init", "lr"]
    assert [row["lr"] for row in (zero, four, eight)] == ["", repr(0.00012345678), "0.5"]
    assert [row["init"] for row in (zero, four, eight)] == ["", "default", "pca"]


def test_a_setting_with_the_name_of_another_column_has_its_key_as_name(comparison: Comparison) -> None:
    renamed = replace(comparison, settings=(comparison.settings[0]._replace(name="finished"),))
    assert list(lines(renamed)[0])[:3] == ["name", "dataset.shots", "labelled_examples"]
    assert lines(renamed)[2]["finished"] == "1"


def test_statistics_are_columns(comparison: Comparison) -> None:
    models = RowsTest(0.001, 0.002, "McNemar, exact")
    against = Contrast(0.2, 0.5, Interval(-0.1, 0.5, "t"), 0.01, 0.02, "over rows and 3 seeds", models)
    gap = Gap(-0.1, Interval(-0.3, 0.0, "t"), 0.06)
    rows = {
        (0, "accuracy"): RowSignificance(Interval(0.05, 0.15, "over rows"), None, False),
        (1, "accuracy"): RowSignificance(Interval(0.2, 0.3, "t over 2 seeds"), against, True, gap),
    }
    zero, four, _ = lines(replace(comparison, significance=Significance(rows, {})))
    assert (zero["accuracy.ci_low"], zero["accuracy.ci_high"], zero["accuracy.tied_with_best"]) == (
        "0.05",
        "0.15",
        "false",
    )
    assert (zero["accuracy.difference"], zero["accuracy.p_value"]) == ("", "")
    expected = {
        "difference": "0.2", "effect_size": "0.5", "p_value": "0.01", "p_holm": "0.02", "ci_method": "t over 2 seeds",
        "test": "over rows and 3 seeds", "difference_ci_low": "-0.1", "difference_ci_high": "0.5",
        "these_models_p_value": "0.001", "these_models_p_holm": "0.002", "these_models_test": "McNemar, exact",
        "tied_with_best": "true", "to_best_difference": "-0.1", "to_best_ci_low": "-0.3", "to_best_ci_high": "0.0",
        "to_best_p_holm": "0.06",
    }  # fmt: skip
    assert {figure: four[f"accuracy.{figure}"] for figure in expected} == expected
    assert (zero["accuracy.ci_method"], zero["accuracy.to_best_ci_low"]) == ("over rows", "")


def test_what_a_row_is_and_what_it_is_compared_with(comparison: Comparison) -> None:
    zero, four, eight = lines(comparison)
    assert [row["recipe_id"] for row in (zero, four, eight)] == [row.runs[0].recipe_id for row in comparison.rows]
    assert [row["baseline"] for row in (zero, four, eight)] == ["", "shots=0", "shots=0"]
    best = comparison.best["accuracy"]
    assert [row["accuracy.best"] for row in (zero, four, eight)] == [str(n in best).lower() for n in range(3)]
    assert {row["test_rows"] for row in (zero, four, eight)} == {""}  # these results do not record it
    grouped = lines(replace(comparison, grouped=("shots",)))
    assert {row["recipe_id"] for row in grouped} == {""}


def test_the_fingerprint_of_the_evaluated_rows(comparison: Comparison) -> None:
    def with_rows(row: Row, rows: int, what: str) -> Row:
        runs = [
            replace(run, result=run.result and replace(run.result, rows={"test": rows}, evaluated_on={"test": what}))
            for run in row.runs
        ]
        return replace(row, runs=tuple(runs))

    rows = [with_rows(row, size, what) for row, size, what in zip(comparison.rows, (60, 60, 61), "aab", strict=True)]
    zero, four, eight = lines(replace(comparison, rows=tuple(rows)))
    assert [row["test_rows"] for row in (zero, four, eight)] == ["60", "60", "61"]
    assert zero["judged_on"] == four["judged_on"] != eight["judged_on"] != ""  # words: fixed name


def test_a_difference_without_a_test_is_shown_too(comparison: Comparison) -> None:
    zero, four, _ = lines(comparison)
    assert zero["accuracy.difference"] == ""
    assert float(four["accuracy.difference"]) == pytest.approx(0.15)
    assert four["accuracy.p_value"] == four["accuracy.tied_with_best"] == ""


@pytest.mark.parametrize("number", ["-2", "+1.5", "1e-05", "-.5", "-3.2E+10", "8", "0.1"])
def test_numbers_stay_numbers(number: str) -> None:
    assert defused(number) == number


@pytest.mark.parametrize("formula", ["=1", "+1+1", "-a", "@x", "\t=1", "＋1", "\u200b=1", " =1", "\r\n=1", "−1"])  # noqa: RUF001
def test_formulas_become_text(formula: str) -> None:
    assert defused(formula).startswith("'")


def test_ordinary_text_stays_as_it_is() -> None:
    assert defused('größer als ‘x’ – 8, "ja"') == 'größer als ‘x’ – 8, "ja"'  # noqa: RUF001
