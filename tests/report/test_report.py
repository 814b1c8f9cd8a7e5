"""The comparison: grouping by configuration, mean and spread, best values, failures, and text that cannot break out."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from sft.config.load import Grid
from sft.config.schema import ExperimentConfig
from sft.errors import UserError
from sft.report.markdown import escape, render_markdown
from sft.report.rows import Comparison, compare
from sft.report.table import comparison_table, number
from sft.report.text import render_text
from sft.report.write import write_report
from sft.results.schema import RunResult, RunState
from sft.results.store import ResultStore
from sft.sweep.jobs import Plan, config_of, make_plan
from sft.sweep.run import write_plan

ACCURACY = {("shots=0", 13): 0.5, ("shots=4", 13): 0.6, ("shots=4", 14): 0.8, ("shots=16", 13): 0.9}


def config(shots: int) -> ExperimentConfig:
    data: dict[str, Any] = {
        "dataset": {"path": "hub/data", "task_type": "classification", "shots": shots},
        "model": {"name": "hub/model"},
        "lora": {"r": 8},
        "prompting": {"input_columns": ["text"], "output_column": "label"},
        "training": {},
        "inference": {},
    }
    return ExperimentConfig.model_validate(data)


def plan() -> Plan:
    configs = {f"shots={shots}": config(shots) for shots in (0, 4, 16)}
    return make_plan(Grid(Path("grid.jsonnet"), configs, (13, 14)), None)


def finish(store: ResultStore, made: Plan, validation: dict[str, float] | None = None) -> None:
    """Results for the runs in ACCURACY; the 16-shot run with seed 14 fails."""
    write_plan(made, store)
    for experiment in made.experiments:
        folder = store.folder(experiment.id, experiment.slug)
        name = experiment.name.partition(" seed")[0]
        accuracy = ACCURACY.get((name, experiment.seed))
        if accuracy is None:
            folder.write_state(RunState(state="failed", error="ValueError: <b>|boom|</b>", exit_code=1))
            continue
        results: dict[str, Any] = {"accuracy": accuracy, "ece": 1 - accuracy, "confusion_matrix": [[1]]}
        if validation is not None:
            results["validation"] = {"accuracy": validation[name]}
        folder.write_result(
            RunResult(
                name=experiment.name,
                id=experiment.id,
                recipe_id=experiment.recipe_id,
                seed=experiment.seed,
                endpoint="run-experiment",
                config=config_of(experiment),
                results=results,
                shots={},
                labelled_examples=3 * int(name.partition("=")[2]),
                training={},
                timings={"total": 1.0},
                resources={},
                environment={},
                data={},
            )
        )


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    store = ResultStore(tmp_path)
    finish(store, plan())
    return compare(store)


def test_runs_that_differ_by_seed_are_one_row(comparison: Comparison) -> None:
    table = comparison_table(comparison)
    assert table.header == ["shots", "labelled", "accuracy", "ECE", "n"]
    assert table.rows == [
        ["0", "0", ".500", ".500", "1"],
        ["4", "12", f".700 ± .{round(statistics.stdev([0.6, 0.8]) * 1000)}", ".300 ± .141", "2"],
        ["16", "48", ".900", ".100", "1 of 2"],
    ]


def test_the_best_of_each_column_is_marked(comparison: Comparison) -> None:
    assert comparison.best == {"accuracy": 2, "ece": 2}
    assert ".900 *" in render_text(comparison)
    assert "**.900**" in render_markdown(comparison)


def test_failures_are_shown_with_their_log(comparison: Comparison) -> None:
    (failed,) = comparison.unfinished
    assert failed.name == "shots=16 seed=14"
    assert str(failed.folder.log_file) in render_text(comparison)
    assert "ValueError: &lt;b&gt;\\|boom\\|&lt;/b&gt;" in render_markdown(comparison)


def test_runs_that_never_started_are_named(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    write_plan(plan(), store)
    assert {run.state for run in compare(store).unfinished} == {"missing"}


def test_the_best_is_chosen_on_the_validation_split_where_there_is_one(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    finish(store, plan(), validation={"shots=0": 0.1, "shots=4": 0.9, "shots=16": 0.2})
    comparison = compare(store)
    assert comparison.chosen_on == "validation"
    assert comparison.best["accuracy"] == 1
    assert ".700 ± .141 *" in render_text(comparison)


def test_a_baseline_adds_the_difference(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    finish(store, plan())
    table = comparison_table(compare(store, baseline="shots=4"))
    assert [row[-2] for row in table.rows] == ["-.200", "+.000", "+.200"]
    with pytest.raises(UserError, match='no row is named "shots=5"; did you mean'):
        compare(store, baseline="shots=5")


def test_the_json_is_tidy(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    finish(store, plan())
    data = json.loads(write_report(store, compare(store)).json.read_text())
    row = data["rows"][1]
    assert row["settings"] == {"dataset.shots": "4"}
    assert row["metrics"]["accuracy"] == {"mean": 0.7, "std": statistics.stdev([0.6, 0.8]), "n": 2, "best": False}
    assert [run["state"] for run in data["runs"]] == ["done"] * 4 + ["failed"]
    assert data["runs"][0]["results"]["confusion_matrix"] == [[1]]


def test_all_runs_of_a_folder_without_a_plan(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    finish(store, plan())
    store.plan_file.unlink()
    assert len(compare(store).runs) == 4
    with pytest.raises(UserError, match="no runs to report"):
        compare(ResultStore(tmp_path / "elsewhere"))


@pytest.mark.parametrize(
    "payload",
    [
        "<script>alert(1)</script>",
        "a | b",
        "[x](javascript:1)",
        "![x](http://a/b.png)",
        "`code`",
        "line\nbreak",
        "**b**",
    ],
)
def test_text_cannot_break_out_of_markdown(payload: str) -> None:
    from markdown_it import MarkdownIt

    table = f"| h |\n| --- |\n| {escape(payload)} |\n"
    html = MarkdownIt().enable("table").render(table)
    assert html.count("<td>") == 1
    assert not any(tag in html for tag in ("<script", "<a ", "<img", "<code", "<strong", "<br"))


@pytest.mark.parametrize(
    ("value", "text"), [(0.6549, ".655"), (-0.25, "-.250"), (1.0, "1.000"), (0.0, ".000"), (43.21, "43.2"), (None, "-")]
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_escape_sequences_never_reach_the_terminal(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    made = plan()
    finish(store, made)
    failed = next(e for e in made.experiments if e.name == "shots=16 seed=14")
    store.folder(failed.id, failed.slug).write_state(RunState(state="failed", error="\x1b[31mred\x1b]0;title\x07"))
    assert "\x1b" not in render_text(compare(store))
