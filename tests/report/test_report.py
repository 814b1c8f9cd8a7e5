"""The comparison: rows, mean and standard deviation, best values, failures, and escaped text."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sft.config.experiment import Experiment
from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.errors import UserError
from sft.report.choices import Choices
from sft.report.comparison import Built, Comparison, Estimate
from sft.report.formats.markdown import escape, render_markdown
from sft.report.formats.table import comparison_table, estimate
from sft.report.formats.text import render_text
from sft.report.metrics import is_asked_for, number
from sft.report.read.earlier import _sources
from sft.report.read.failures import log_tail
from sft.report.rows import compare
from sft.report.write import write_report
from sft.results.locks import Kind
from sft.results.schema import RunResult, RunState
from sft.results.store import ResultStore, RunFolder
from sft.sweep.planning.jobs import Plan, config_of, make_plan, write_plan

KINDS: tuple[Kind, ...] = ("run", "claim")
ACCURACY = {("shots=0", 13): 0.5, ("shots=4", 13): 0.6, ("shots=4", 14): 0.8, ("shots=16", 13): 0.9}


def config(shots: int, r: int = 8, metrics: Sequence[str] = (), instruction: str = "") -> ExperimentConfig:
    data: dict[str, Any] = {
        "dataset": {"path": "hub/data", "task_type": "classification", "shots": shots},
        "model": {"name": "hub/model"},
        "lora": {"r": r},
        "evaluation": {"metrics": list(metrics)},
        "prompting": {"input_columns": ["text"], "output_column": "label", "instruction": instruction},
        "training": {},
        "inference": {},
    }
    return ExperimentConfig.model_validate(data)


def plan() -> Plan:
    configs = {f"shots={shots}": config(shots) for shots in (0, 4, 16)}
    return make_plan(Grid(Path("grid.jsonnet"), configs, (13, 14)), None)


def finish(
    store: ResultStore, made: Plan, validation: dict[str, float] | None = None, data: dict[str, Any] | None = None
) -> None:
    """Write results for the runs in ACCURACY. The 16-shot run with seed 14 fails."""
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
        found = result_of(experiment, results, 3 * int(name.partition("=")[2]))
        folder.write_result(found.model_copy(update={"data": data or {}}))


def written(comparison: Comparison) -> dict[str, Path]:
    """Write the report's files that need no rows. Return them by format."""
    formats = ("md", "json")
    return dict(zip(formats, write_report(Built(comparison, {}), formats), strict=True))


def result_of(experiment: Experiment, results: dict[str, Any], labelled: int = 0) -> RunResult:
    return RunResult(
        name=experiment.name, id=experiment.id, recipe_id=experiment.recipe_id, seed=experiment.seed,
        endpoint="run-experiment", config=config_of(experiment), results=results, shots={}, labelled_examples=labelled,
        training={}, timings={"total": 1.0}, resources={}, environment={}, data={},
    )  # fmt: skip


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
    assert comparison.best == {"accuracy": (1,), "ece": (1,)}  # the better third row lacks a run
    assert ".700 ± .141 *" in render_text(comparison)
    assert "* best mean of its column, chosen on the test split itself." in render_text(comparison)
    assert "**.700 ± .141**" in render_markdown(comparison)
    for text in (render_text(comparison), render_markdown(comparison)):
        assert "Rows with missing runs are not marked; better than the best so far: shots=16 (" in text


def test_failures_are_shown_with_their_log(comparison: Comparison) -> None:
    (failed,) = comparison.unfinished
    assert failed.name == "shots=16 seed=14"
    assert str(failed.folder.log_file) not in render_text(comparison)  # there is none
    failed.folder.log_file.write_text("ValueError: boom")
    assert str(failed.folder.log_file) in render_text(comparison)
    assert f"Log: `runs/{failed.folder.path.name}/log.txt`" in render_markdown(comparison)
    assert "ValueError: &lt;b&gt;\\|boom\\|&lt;/b&gt;" in render_markdown(comparison)


def test_runs_that_never_started_are_named(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    write_plan(plan(), store)
    comparison = compare(store)
    assert {run.state for run in comparison.unfinished} == {"missing"}
    text = render_text(comparison)
    names = "shots=0, shots=4 seed=13, shots=4 seed=14, shots=16 seed=13, shots=16 seed=14"
    assert text.splitlines()[-1] == f"5 not run yet: {names}"
    assert "log.txt" not in text + render_markdown(comparison)
    assert "- **shots=16 seed=14**: not run yet." in render_markdown(comparison)


def test_the_best_is_chosen_on_the_validation_split_where_there_is_one(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    finish(store, plan(), validation={"shots=0": 0.1, "shots=4": 0.9, "shots=16": 0.2})
    comparison = compare(store)
    assert comparison.chosen_on == "validation"
    assert comparison.best == {"accuracy": (1,)}
    table = comparison_table(comparison)
    assert table.header[2:4] == ["accuracy (validation)", "accuracy"]
    assert [row[2] for row in table.rows] == [".100", ".900 ± .000", ".200"]
    assert table.best == {(1, 2), (1, 3)}
    assert "best mean on the validation split" in render_text(comparison)


def test_a_baseline_adds_the_difference(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    finish(store, plan())
    table = comparison_table(compare(store, Choices(baseline="shots=4")))
    assert [row[-2] for row in table.rows] == ["-.200", "baseline", "+.200"]
    with pytest.raises(UserError, match='no row is named "shots=5"; did you mean'):
        compare(store, Choices(baseline="shots=5"))


def test_the_json_is_tidy(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    finish(store, plan())
    data = json.loads(written(compare(store))["json"].read_text())
    row = data["rows"][1]
    assert row["settings"] == {"dataset.shots": "4"}
    assert row["metrics"]["accuracy"] == {
        "mean": 0.7, "std": statistics.stdev([0.6, 0.8]), "n": 2, "best": True,
        "difference": pytest.approx(0.2),
        **dict.fromkeys(
            ["ci_low", "ci_high", "ci_method", "difference_ci_low", "difference_ci_high", "effect_size",
             "p_value", "p_holm", "test", "these_models", "tied_with_best", "to_best"]
        ),
    }  # fmt: skip
    assert not data["rows"][2]["metrics"]["accuracy"]["best"]
    assert data["same_rows_judged"]  # words: fixed name
    assert [run["state"] for run in data["runs"]] == ["done"] * 4 + ["failed"]
    assert ["log_tail" in run for run in data["runs"]] == [False] * 4 + [True]
    assert data["runs"][0]["results"]["confusion_matrix"] == [[1]]


def test_all_runs_of_a_folder_without_a_plan(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    finish(store, plan())
    whole = compare(store)
    store.plan_file.unlink()
    comparison = compare(store)
    assert {run.id: (run.state, run.error) for run in comparison.runs} == {
        run.id: (run.state, run.error) for run in whole.runs if run.result is not None
    }
    for experiment in plan().experiments:  # what each run's own process leaves first
        store.folder(experiment.id, experiment.slug).write_config(config_of(experiment))
    comparison = compare(store)
    assert {row.runs[0].recipe_id: row.finished for row in comparison.rows} == {
        row.runs[0].recipe_id: row.finished for row in whole.rows
    }
    (failed,) = comparison.unfinished
    assert (failed.name, failed.state) == ("shots=16 seed=14", "failed")
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
    ("value", "metric", "text"),
    [
        (0.6549, "accuracy", ".655"),
        (-0.25, "mcc", "-.250"),
        (-0.0004, "mcc", ".000"),
        (1.0, "accuracy", "1.000"),
        (0.0, "accuracy", ".000"),
        (2.3456, "log_loss", "2.346"),
        (43.21, "bleu", "43.2"),
        (0.8123, "bleu", "0.8"),
        (-0.04, "chrf", "0.0"),
        (None, "bleu", "-"),
    ],
)
def test_numbers(value: float | None, metric: str, text: str) -> None:
    assert number(value, metric) == text


def test_the_spread_has_the_scale_of_its_mean() -> None:
    assert estimate(Estimate(43.21, 0.8123, 3), "bleu") == "43.2 ± 0.8"
    assert estimate(Estimate(0.655, 0.0213, 3), "accuracy") == ".655 ± .021"


def test_equal_rows_are_all_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ResultStore(tmp_path)
    monkeypatch.setitem(ACCURACY, ("shots=16", 14), 0.5)
    finish(store, plan(), validation={"shots=0": 0.7, "shots=4": 0.7, "shots=16": 0.2})
    comparison = compare(store)
    assert comparison.best["accuracy"] == (0, 1)
    assert render_text(comparison).count(" *") == 4  # on both splits


def test_rows_evaluated_on_different_data_do_not_compete(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    made = plan()
    finish(store, made, data={"sha256": "one", "rows": {"test": 50}})
    assert compare(store).best
    longer = next(e for e in made.experiments if e.name == "shots=0")
    folder = store.folder(longer.id, longer.slug)
    result = folder.result()
    assert result is not None
    folder.write_result(result.model_copy(update={"data": {"sha256": "one", "rows": {"test": 100}}}))
    comparison = compare(store, Choices(baseline="shots=0"))
    assert not comparison.best
    for text in (render_text(comparison), render_markdown(comparison)):
        assert "No best value is marked: not all rows were evaluated on the same data." in text
        assert "best mean" not in text
    assert [row[-2] for row in comparison_table(comparison).rows] == ["baseline", "-", "-"]


def test_metrics_that_were_asked_for_are_columns(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    configs = {f"r={r}": config(0, r=r, metrics=["mine:length", "cohen_kappa"], instruction=str(r)) for r in (8, 16)}
    made = make_plan(Grid(Path("grid.jsonnet"), configs, None), None)
    write_plan(made, store)
    for better, experiment in enumerate(made.experiments):
        results = {"accuracy": 0.5, "mcc": 0.1, "length": 12.0 + better, "cohen_kappa": 0.2 + better / 10}
        store.folder(experiment.id, experiment.slug).write_result(result_of(experiment, results))
    comparison = compare(store)
    assert comparison.metrics == ("accuracy", "length", "cohen_kappa")
    assert comparison.best == {"cohen_kappa": (1,)}  # accuracy is the same for both
    assert "unknown whether higher is better: length." in render_text(comparison)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda entry: entry.pop("recipe_id"), "experiment 2 has no 'recipe_id'"),
        (lambda entry: entry["config"]["dataset"].update(shotz=3), "experiment 2, config.dataset.shotz: Extra inputs"),
        (lambda entry: entry.update(seed="x"), "experiment 2 is not valid"),
    ],
)
def test_a_bad_plan_says_what_to_do(tmp_path: Path, damage: Any, expected: str) -> None:
    store = ResultStore(tmp_path)
    finish(store, plan())
    data = json.loads(store.plan_file.read_text())
    damage(data["experiments"][1])
    store.plan_file.write_text(json.dumps(data))
    with pytest.raises(UserError, match="run the grid again, or use report --all") as error:
        compare(store)
    assert str(error.value).startswith(f"{store.plan_file}: {expected}")
    assert compare(store, Choices(everything=True)).runs
    store.plan_file.write_text("[1, 2")
    with pytest.raises(UserError, match="not a valid plan; run the grid again"):
        compare(store)


def test_a_run_of_another_version_is_left_out_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ResultStore(tmp_path)
    made = plan()
    finish(store, made)
    folder = store.folder(made.experiments[0].id, "x")
    result = folder.result()
    assert result is not None
    folder.write_result(result.model_copy(update={"config": {**result.config, "brand_new": 1}}))
    with caplog.at_level("WARNING", logger="sft"):
        assert folder.id not in {run.id for run in compare(store, Choices(everything=True)).runs}
    assert f"{folder.path} is left out" in caplog.text


def test_escape_sequences_never_reach_the_terminal(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    made = plan()
    finish(store, made)
    failed = next(e for e in made.experiments if e.name == "shots=16 seed=14")
    store.folder(failed.id, failed.slug).write_state(RunState(state="failed", error="\x1b[31mred\x1b]0;title\x07"))
    assert "\x1b" not in render_text(compare(store))


def failed_run(store: ResultStore, log: str) -> RunFolder:
    """Return the folder of the failed run, with this log."""
    made = plan()
    finish(store, made)
    failed = next(e for e in made.experiments if e.name == "shots=16 seed=14")
    folder = store.folder(failed.id, failed.slug)
    folder.log_file.write_text(log, encoding="utf-8")
    return folder


NASTY = """Traceback (most recent call last):
```
</details><script>alert(1)</script>
````` five
\x1b[31m- **item** | cell
# heading
ValueError: boom
"""


def test_the_end_of_a_log_is_in_the_report_and_nothing_in_it_acts(tmp_path: Path) -> None:
    from markdown_it import MarkdownIt

    store = ResultStore(tmp_path)
    failed_run(store, NASTY)
    files = written(compare(store))
    html = MarkdownIt().enable("table").render(files["md"].read_text())
    assert "<script" not in html
    assert html.count("<details>") == html.count("</details>") == html.count("<pre>") == 1
    assert html.index("<details>") < html.index("boom\n</code>") < html.index("</details>")
    assert "Every experiment</h2>" in html  # what follows is read as before
    assert "\x1b" not in html
    (tail,) = [run["log_tail"] for run in json.loads(files["json"].read_text())["runs"] if "log_tail" in run]
    assert tail == [line.replace("\x1b", "") for line in NASTY.splitlines()]


def test_no_secret_of_a_log_is_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "canary-7f3a9c51d2"
    monkeypatch.setenv("MY_API_TOKEN", canary)
    store = ResultStore(tmp_path)
    failed_run(store, f"asking https://user:hunter2hunter2@host/x\nauth failed for {canary}\n")
    files = written(compare(store))
    for path in files.values():
        assert canary not in path.read_text()
        assert "hunter2" not in path.read_text()
    assert "auth failed for" in files["md"].read_text()


def test_a_long_log_is_cut(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    folder = failed_run(store, "\n".join(f"{n} {'x' * 5000}" for n in range(100)))
    tail = log_tail(folder)
    assert len(tail) <= 20
    assert max(map(len, tail)) < 600
    assert tail[-1].startswith("99 ")


def test_a_run_that_was_left_is_interrupted_and_one_that_is_held_runs(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    finish(store, plan())
    folder = failed_run(store, "")
    folder.write_state(RunState(state="running", phase="train"))
    (run,) = compare(store).unfinished
    assert (run.state, run.error) == ("interrupted", "its process is gone")
    for kind in KINDS:
        lock = store.lock(folder.id, kind)
        assert lock.acquire()
        (run,) = compare(store).unfinished
        assert (run.state, run.error) == ("running", "")
        lock.release()


def test_a_damaged_result_is_reported_with_the_reason(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    finish(store, plan())
    damaged = next(run for run in compare(store).runs if run.result is not None)
    data = bytearray(damaged.folder.result_file.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.folder.result_file.write_bytes(data)
    run = next(run for run in compare(store).runs if run.id == damaged.id)
    assert run.state == "damaged"
    assert "its checksum does not match" in run.error
    assert f"Damaged: {run.name} (its result cannot be used: " in render_text(compare(store))


def test_an_unreadable_result_is_reported_and_the_others_are_shown(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    finish(store, plan())
    unreadable = next(run for run in compare(store).runs if run.result is not None)
    unreadable.folder.result_file.unlink()
    unreadable.folder.result_file.mkdir()  # as good as a network that fails
    comparison = compare(store)
    run = next(run for run in comparison.runs if run.id == unreadable.id)
    assert (run.state, run.result) == ("unreadable", None)
    assert "result.json cannot be read: Is a directory" in run.error
    assert f"Unreadable: {run.name} (" in render_text(comparison)
    assert any(run.result is not None for run in comparison.runs)


def test_runs_of_earlier_content_are_named(tmp_path: Path) -> None:
    data, store = tmp_path / "train.csv", ResultStore(tmp_path / "results")

    def ran(content: str) -> Plan:
        data.write_text(content)
        base = config(4).model_dump(mode="json", by_alias=True, exclude_defaults=True)
        base["dataset"]["path"] = str(data)
        base["training"]["trainer_args"] = {"output_dir": str(tmp_path / "adapters")}
        configs = {name: ExperimentConfig.model_validate({**base, "name": name}) for name in ("a", "b")}
        configs["b"] = configs["b"].model_copy(update={"lora": config(4, r=16).lora})
        made = make_plan(Grid(Path("grid.jsonnet"), configs, None), None)
        write_plan(made, store)
        for experiment in made.experiments:
            folder = store.folder(experiment.id, experiment.slug)
            folder.write_config(config_of(experiment))
            if experiment.name == "a":
                folder.write_result(result_of(experiment, {"accuracy": 0.5}, 12))
        return made

    ran("text,label\n")
    assert not compare(store).earlier
    ran("text,label\nnew,row\n")
    comparison = compare(store)
    assert [one.name for one in comparison.earlier] == ["a"]  # b of then has no result
    expected = "1 finished run of earlier content of train.csv is in the folder and not in this table: a"
    assert f"{expected}; report --all shows it." in render_text(comparison)
    assert expected.replace("_", "\\_") in render_markdown(comparison)
    assert not compare(store, Choices(everything=True)).earlier


def test_runs_of_an_earlier_version_are_named_as_such(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    experiment = make_plan(Grid(Path("grid.jsonnet"), {"a": config(4)}, None), None).experiments[0]
    write_plan(make_plan(Grid(Path("grid.jsonnet"), {"a": config(4)}, None), None), store)
    folder = store.folder("0123456789ab", experiment.slug)
    folder.write_config(config_of(experiment))
    result = result_of(experiment, {"accuracy": 0.5}, 12)
    folder.write_result(result.model_copy(update={"id": "0123456789ab", "id_version": 1}))
    expected = (
        "1 finished run of an earlier version of sft, which read data files differently, is in the folder and not in"
    )
    assert f"{expected} this table: a; report --all shows it." in render_text(compare(store))


def test_rows_that_are_in_train_and_test_are_in_the_notes(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    plan = make_plan(Grid(Path("grid.jsonnet"), {"a": config(4), "b": config(8)}, None), None)
    write_plan(plan, store)
    overlap = {"rows": 500, "in_train": 11, "in_train_with_other_answer": 1}
    for experiment in plan.experiments:
        folder = store.folder(experiment.id, experiment.slug)
        folder.write_config(config_of(experiment))
        result = result_of(experiment, {"accuracy": 0.5}, 12)
        data = {**result.data, "path": "/data/trec", "overlap": {"with_train": {"test": overlap}}}
        folder.write_result(result.model_copy(update={"data": data}))
    expected = "trec: 11 of 500 test rows have the same text as a train row, 1 of them with another answer."
    assert render_text(compare(store)).count(expected) == 1
    assert expected in render_markdown(compare(store))


def test_the_users_own_functions_are_among_what_may_have_been_edited() -> None:
    own = {"icl_selection": "mine:pick", "calibration_args": {"calibration_fn": "theirs:calibrate"}}
    assert list(_sources({"inference": own, "training": {"method": "sft"}})) == ["mine.py", "theirs.py"]


def test_an_answers_form_is_no_metric_that_was_asked_for() -> None:
    asked = config(4, metrics=["ter"])
    data = asked.dataset.model_copy(update={"task_type": "generation"})
    asked = asked.model_copy(update={"dataset": data})
    assert [is_asked_for(key, asked) for key in ("unfinished_answers", "ter")] == [False, True]


def test_runs_of_another_command_are_no_earlier_content(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    grid = Grid(Path("grid.jsonnet"), {"a": config(4)}, None)
    trained = make_plan(grid, None, "train").experiments[0]
    folder = store.folder(trained.id, trained.slug)
    folder.write_config(config_of(trained))
    folder.write_result(result_of(trained, {}).model_copy(update={"endpoint": "train"}))
    write_plan(make_plan(grid, None), store)
    assert not compare(store).earlier


def test_runs_that_finished_with_a_smaller_batch_are_named(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    made = plan()
    finish(store, made)
    for experiment in made.experiments[1:3]:
        folder = store.folder(experiment.id, experiment.slug)
        result = folder.result()
        assert result is not None
        smaller = {"resources": {"batch_halvings": 1}, "training": {"per_device_batch": 4, "accumulation": 2}}
        folder.write_result(result.model_copy(update=smaller))
    expected = "2 experiments ran out of memory and finished with half of the batch: shots=4 seed=13, shots=4 seed=14"
    assert f"{expected} (4 x 2 instead of 8 x 1)." in render_text(compare(store))
